"""Finding stated rules: `stated` (method.md section 13.3).

SQL selects the positions and what attention carries to them; what a rule explains is sums over rows of a
dense matrix (`boosting`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from attnrules.queries.arrays import Floats, Ints, arrays, matrix, mix32
from attnrules.queries.csr import Grouped
from attnrules.queries.skipgrams.finding import Search, StatedRules
from attnrules.queries.skipgrams.weighted import leading_keys
from attnrules.queries.stated.boosting import Booster, Candidates, Grown, Term
from attnrules.queries.stated.columns import Base, View, candidates
from attnrules.queries.stated.corpus import TOKEN, Corpus, load
from attnrules.queries.stated.language import (
    Atom,
    InputFeature,
    Member,
    Position,
    Statement,
    Token,
    TokenId,
)
from attnrules.queries.stated.members import member_rows, table_of
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.queries.heads import HeadScores
    from attnrules.queries.skipgrams.finding import Batch
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "stated")
_evaluation = Statements("attnrules.queries", "evaluation")

# Positions that stand for all, and of those where a feature is active, those that it is learnt from.
_BASE_POSITIONS, _ACTIVE_POSITIONS = 8_192, 1_536
# Keys, and tokens, of a feature that may be looked for before the position judged.
_LEADING = 100
# Rules of a feature, and atoms of a rule.
_MOST_RULES, _MOST_ATOMS = 64, 3
# Of a label, the part that is how likely the feature is, given what attention carries from input features.
_EXPECTED = 0.7


def stated(search: Search) -> StatedRules:
    """Find the rules of the method `stated`, from train sequences alone.

    Needs the temporary tables `mined_features`, `train_active` and `sequence_splits`.
    """
    learner = _Learner.of(search)
    n_most = min(_MOST_RULES, search.spec.max_rules)
    found = [learner.rules(row, n_most) for row in range(len(search.batch.features))]
    return _tables(found, _unambiguous_texts(search.warehouse))


@dataclass(frozen=True)
class _Rule:
    """A rule of a feature, before it has a rank of the warehouse's."""

    feature: int
    statement: Statement
    weight: float
    prior: float
    precision: float
    recall: float


@dataclass(frozen=True)
class _Carried:
    """What attention of one head carries in the sequences that rules are learnt from.

    Arguments:
        sources: by query token, the `key` token and `scaled`, A[q,k] / sigma_k. values: [n_tokens, d_head],
            the sum over i of a[k,i] d_i W_V. sums: [n_tokens, d_head], the head's output made of them.
            encoders: [n_output_features, d_head], how features read the head.
    """

    sources: Grouped
    values: Floats
    sums: Floats
    encoders: Floats

    @classmethod
    def read(cls, warehouse: Warehouse, layer: int, own: HeadScores, corpus: Corpus) -> _Carried:
        n = len(corpus.tokens)
        at_head = {"layer": layer, "head": own.through[0]}
        rows = arrays(warehouse, step("learning_sources"), {**at_head, "seq_len": corpus.seq_len})
        sources = Grouped.by(rows["query"], n, {name: rows[name] for name in ("key", "scaled")})
        token = np.repeat(np.arange(n), corpus.inputs.n)
        feature, activation = (corpus.inputs.values[name] for name in ("feature", "activation"))
        constants = warehouse.sql(_evaluation("value_biases"), at_head).to_arrow_table()
        biases = {name: matrix(constants.column(name))[0] for name in constants.column_names}
        values, sums = (np.zeros((n, own.values.shape[1])) for _ in range(2))
        for at, column in enumerate(np.ascontiguousarray(own.values.T)):
            values[:, at] = np.bincount(token, activation * column[feature], n)
            amount = rows["scaled"] * (values[rows["key"], at] + biases["decoder_bias_value"][at])
            amount += rows["weight"] * biases["b_V"][at]
            sums[:, at] = np.bincount(rows["query"], amount, n)
        return cls(sources, values, sums, own.encoders)

    def to(self, feature: int, rows: Ints) -> Floats:
        """Return what attention carries to a feature at some positions: [len(rows)]."""
        return np.asarray(self.sums[rows] @ self.encoders[feature])

    def by_token(self, feature: int, corpus: Corpus, places: Sequence[Ints], n_tokens: int) -> Floats:
        """Return what positions with each token bring a feature on average: [place, n_tokens]."""
        reads = self.values @ self.encoders[feature]
        return np.array([self._brought(corpus, rows, reads, n_tokens) for rows in places])

    def _brought(self, corpus: Corpus, rows: Ints, reads: Floats, n_tokens: int) -> Floats:
        at = self.sources.rows(rows)
        key = self.sources.values["key"][at]
        brought = np.bincount(corpus.tokens[key], self.sources.values["scaled"][at] * reads[key], n_tokens)
        return np.asarray(brought / len(rows))


@dataclass(frozen=True)
class _Learner:
    """What the rules of all features of a block are learnt from.

    Arguments:
        rows: the positions that stand for all, ascending. base: what is seen from them. active: by feature,
            `token` of the train positions where it is active. held_out: by feature, `number` of the
            sequences that it must not see. keys: by feature, the input features of the keys of `weighted`,
            in their order. carried: of each head that the features read.
    """

    batch: Batch
    corpus: Corpus
    rows: Ints
    base: Base
    active: Grouped
    held_out: Grouped
    keys: Sequence[Ints]
    carried: Sequence[_Carried]

    @classmethod
    def of(cls, search: Search) -> _Learner:
        warehouse, batch = search.warehouse, search.batch
        n_inputs = batch.scores.n_inputs
        corpus = load(warehouse, batch.layer, n_inputs, batch.seed)
        rows = _drawn(corpus.positions, _BASE_POSITIONS, batch.seed)
        found = arrays(warehouse, step("learning_active"), {"seq_len": corpus.seq_len})
        of_feature = np.searchsorted(batch.features, found["feature"])
        active = Grouped.by(of_feature, len(batch.features), {"token": found["token"]})
        found = arrays(warehouse, step("learning_held_out"), batch.at)
        of_feature = np.searchsorted(batch.features, found["feature"])
        held_out = Grouped.by(of_feature, len(batch.features), {"number": found["number"]})
        n_tokens = int(warehouse.value("SELECT coalesce(max(token_id), 0) + 1 FROM tokens"))
        base = Base.of(corpus, rows, batch.layer, (n_inputs, n_tokens))
        keys = [_inputs_of(batch, row) for row in leading_keys(batch, search.carried, _LEADING)[0]]
        heads = batch.scores.each()
        carried = [_Carried.read(warehouse, batch.layer, own, corpus) for own in heads]
        return cls(batch, corpus, rows, base, active, held_out, keys, carried)

    def rules(self, row: int, n_most: int) -> list[_Rule]:
        """Return the rules of a feature, by its place in the batch."""
        feature, seq_len = int(self.batch.features[row]), self.corpus.seq_len
        every = self.active.values["token"][self.active.one(row)]
        out = self.held_out.values["number"][self.held_out.one(row)]
        kept = ~np.isin(self.rows // seq_len, out) & ~np.isin(self.rows, every)
        n_silent, usable = int(kept.sum()), len(self.corpus.positions) - len(out) * (seq_len - 1)
        if len(every) < 2 or not n_silent:
            return []
        rows = _drawn(every, _ACTIVE_POSITIONS, feature)
        found = candidates(
            self.base,
            View.of(self.corpus, rows),
            kept,
            share=len(every) / usable,
            leading=(self.keys[row], self._leading_tokens(feature, rows)),
            sequences=rows // seq_len,
        )
        if not len(found.atoms):
            return []
        hard = np.r_[np.ones(len(rows)), np.zeros(n_silent)]
        weight = np.repeat([len(every) / len(rows), (usable - len(every)) / n_silent], [len(rows), n_silent])
        every_row = np.r_[rows, self.rows[kept]]
        carried = np.sum([own.to(feature, every_row) for own in self.carried], axis=0)
        label = (1 - _EXPECTED) * hard + _EXPECTED * _expected(carried, hard, weight)
        booster = Booster(found, label, weight, every_row // seq_len)
        grown = booster.grow(n_most, _MOST_ATOMS)
        return _sharpest_first([_rule(feature, one, found, booster.prior, hard, weight) for one in grown])

    def _leading_tokens(self, feature: int, rows: Ints) -> Ints:
        """Return the tokens through which heads act most where a feature is active, beyond anywhere."""
        n_tokens = self.base.sizes[TOKEN]
        of_heads = [own.by_token(feature, self.corpus, (rows, self.rows), n_tokens) for own in self.carried]
        active, anywhere = np.sum(of_heads, axis=0)
        best = np.argsort(anywhere - active, kind="stable")[:_LEADING]
        return np.asarray(best[active[best] > anywhere[best]])


def _inputs_of(batch: Batch, keys: Ints) -> Ints:
    """Return the input features of keys, which may be seen through several heads, in the keys' order."""
    features = batch.scores.split(keys)[1]
    return np.asarray(features[np.sort(np.unique(features, return_index=True)[1])])


def _drawn(positions: Ints, n: int, seed: int) -> Ints:
    """Return so many of the positions, drawn by a seed, ascending."""
    order = np.argsort(mix32(mix32(np.array(seed)) + positions), kind="stable")
    return np.sort(positions[order[:n]])


def _rule(feature: int, grown: Grown, found: Candidates, prior: float, hard: Floats, weight: Floats) -> _Rule:
    statement = Statement(tuple(_atom(term, found) for term in grown.terms))
    matched, hits = float(weight[grown.holds].sum()), float((weight * hard)[grown.holds].sum())
    return _Rule(feature, statement, grown.weight, prior, hits / matched, hits / float((weight * hard).sum()))


def _atom(term: Term, found: Candidates) -> Atom | Position:
    parts = [found.atoms[column] for column in term.columns]
    first = parts[0]
    if isinstance(first, Position):
        return first
    members = [member for part in parts if isinstance(part, Atom) for member in part.members]
    return replace(first, members=_without_repeats(members), absent=term.absent)


def _without_repeats(members: Sequence[Member]) -> tuple[Member, ...]:
    """Return members without those that another one implies: a feature at any strength implies it at one."""
    weakest: dict[Member, float] = {}
    for member in members:
        if isinstance(member, InputFeature):
            plain = replace(member, above=0.0)
            weakest[plain] = min(member.above, weakest.get(plain, member.above))
    return tuple(
        dict.fromkeys(
            replace(m, above=weakest[replace(m, above=0.0)]) if isinstance(m, InputFeature) else m
            for m in members
        )
    )


def _sharpest_first(rules: list[_Rule]) -> list[_Rule]:
    """Order the rules of each list that is judged beyond the one before it by precision, surest first.

    What a list of 4, 8, 16, ... rules predicts stays as it is: the rule that a person reads first is better.
    """
    ordered: list[_Rule] = []
    end = 4
    while len(ordered) < len(rules):
        block = rules[len(ordered) : end]
        ordered += sorted(block, key=lambda rule: -rule.precision * min(1.0, rule.recall / 0.02))
        end *= 2
    return ordered


def _expected(reads: Floats, hard: Floats, weight: Floats) -> Floats:
    """Return how likely the feature is active given one number: a logistic line, by Newton's method."""
    middle = (weight * reads).sum() / weight.sum()
    spread = np.sqrt((weight * (reads - middle) ** 2).sum() / weight.sum())
    x = np.stack([(reads - middle) / max(spread, 1e-12), np.ones(len(reads))], axis=1)
    share = (weight * hard).sum() / weight.sum()
    line = np.array([1.0, np.log(share / (1 - share))])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(x @ line, -30, 30)))
        bend = (x * (weight * chance * (1 - chance))[:, None]).T @ x + 1e-3 * np.eye(2)
        line += np.clip(np.linalg.solve(bend, x.T @ (weight * (hard - chance))), -1, 1)
    return np.asarray(1 / (1 + np.exp(-np.clip(x @ line, -30, 30))))


def _unambiguous_texts(warehouse: Warehouse) -> dict[int, str]:
    """Return the text of every token that no other token shares."""
    return dict(warehouse.rows(step("token_texts")))


def _tables(found: Sequence[Sequence[_Rule]], texts: dict[int, str]) -> StatedRules:
    rules: list[dict[str, Any]] = []
    atoms: list[dict[str, Any]] = []
    owners: list[tuple[int, int]] = []
    for of_feature in found:
        for rank, rule in enumerate(of_feature, 1):
            rows = member_rows(rule.statement, {})
            atoms += rows
            owners += [(rule.feature, rank)] * len(rows)
            rules.append(
                {
                    "feature": rule.feature,
                    "rank": rank,
                    "statement": str(_worded(rule.statement, texts)),
                    "weight": rule.weight,
                    "prior": rule.prior,
                    "sample_precision": rule.precision,
                    "sample_recall": rule.recall,
                }
            )
    members = table_of(atoms, feature=[f for f, _ in owners], rank=[r for _, r in owners])
    return StatedRules(pa.Table.from_pylist(rules) if rules else _NO_RULES, members)


_NO_RULES = pa.table(
    {
        **{name: pa.array([], pa.int64()) for name in ("feature", "rank")},
        "statement": pa.array([], pa.string()),
        **{
            name: pa.array([], pa.float64())
            for name in ("weight", "prior", "sample_precision", "sample_recall")
        },
    }
)


def _worded(statement: Statement, texts: dict[int, str]) -> Statement:
    """Return a statement that names tokens by their texts where no two share one."""

    def worded(member: Any) -> Any:
        return (
            Token(texts[member.token_id])
            if isinstance(member, TokenId) and member.token_id in texts
            else member
        )

    return Statement(
        tuple(
            replace(atom, members=tuple(map(worded, atom.members))) if isinstance(atom, Atom) else atom
            for atom in statement.atoms
        )
    )
