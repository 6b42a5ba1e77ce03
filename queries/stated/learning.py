"""Finding stated rules: `stated` (method.md section 13.3).

SQL selects the positions and what attention carries to them; what a rule explains is sums over rows of a
dense matrix (`boosting`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from attnrules.queries.arrays import Floats, Ints, arrays, mix32
from attnrules.queries.csr import Grouped
from attnrules.queries.skipgrams.finding import Search, StatedRules
from attnrules.queries.skipgrams.weighted import grouped_rules, leading_keys
from attnrules.queries.stated.boosting import Bools, Booster, Candidates, Grown, Term
from attnrules.queries.stated.columns import Base, View, candidates
from attnrules.queries.stated.corpus import FEATURE, TOKEN, Corpus, load
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
from attnrules.queries.stated.teacher import Attention, Carried, chances
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.queries.skipgrams.finding import Batch
    from attnrules.queries.skipgrams.weighted import KeyMeans
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "stated")
_evaluation = Statements("attnrules.queries", "evaluation")

# Positions that stand for all, and of those where a feature is active, those that it is learnt from.
_BASE_POSITIONS, _ACTIVE_POSITIONS = 8_192, 1_536
# Keys, and tokens, of a feature that may be looked for before the position judged.
_LEADING = 100
# Groups of keys, and sets of tokens, of which positions are counted.
_POOLS = 8
# Positions where a feature is silent, drawn for being like those where it is active.
_NEAR_POSITIONS = 2_048
# Keys of a head through which it raises, or lowers, a feature: what is carried through them is told apart.
_RAISING, _LOWERING = 128, 64
# Rules of a feature, and atoms of a rule.
_MOST_RULES, _MOST_ATOMS = 64, 3
# Of a label, the part that is how likely the feature is, given what attention carries from input features.
_EXPECTED = 0.9


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
class _Sample:
    """The positions that the rules of a feature are learnt from.

    Arguments:
        rows: active ones, ascending, the first `n_active`, then silent ones that are like these. kept: of the
            positions that stand for all, those that are silent and not in `rows`. weight: positions that each
            row and then each kept one stands for. share: of all positions, those where it is active.
    """

    rows: Ints
    n_active: int
    kept: Bools
    weight: Floats
    share: float


@dataclass(frozen=True)
class _Learner:
    """What the rules of all features of a block are learnt from.

    Arguments:
        rows: the positions that stand for all, ascending. base: what is seen from them. active: by feature,
            `token` of the train positions where it is active. held_out: by feature, `number` of the
            sequences that it must not see. keys: by feature, the input features of the keys of `weighted`,
            in their order. parts: by feature, the input features of each head through which it raises the
            feature most, and those through which it lowers it most. attention: of each head that
            features read.
    """

    batch: Batch
    corpus: Corpus
    rows: Ints
    base: Base
    active: Grouped
    held_out: Grouped
    keys: Sequence[Ints]
    groups: Sequence[list[Ints]]
    parts: Sequence[list[list[Ints]]]
    attention: Sequence[Attention]

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
        keys = [_inputs_of(batch, row) for row in leading_keys(batch, search.carried, _LEADING)[0]]
        leading = np.unique(np.concatenate(keys))
        base = Base.of(corpus, rows, batch.layer, (n_inputs, n_tokens), leading)
        heads = batch.scores.each()
        attention = [Attention.read(warehouse, batch.layer, own, corpus) for own in heads]
        parts, groups = _parts(batch, search.carried), _groups(batch, search.carried)
        return cls(batch, corpus, rows, base, active, held_out, keys, groups, parts, attention)

    def rules(self, row: int, n_most: int) -> list[_Rule]:
        """Return the rules of a feature, by its place in the batch."""
        feature = int(self.batch.features[row])
        carried = [own.to(feature) for own in self.attention]
        sample = self._sample(row, carried)
        if sample is None:
            return []
        active = sample.rows[: sample.n_active]
        leading = self.keys[row], self._leading_tokens(carried, active)
        found = candidates(
            self.base,
            View.of(self.corpus, sample.rows, leading[FEATURE]),
            sample.kept,
            share=sample.share,
            leading=leading,
            pools=(self.groups[row], np.split(leading[TOKEN], range(8, len(leading[TOKEN]), 8))[:_POOLS]),
            sequences=active // self.corpus.seq_len,
        )
        if not len(found.atoms):
            return []
        every_row = np.r_[sample.rows, self.rows[sample.kept]]
        hard = (np.arange(len(every_row)) < sample.n_active).astype(np.float64)
        expected = chances(self._numbers(row, carried, every_row), hard, sample.weight)
        label = (1 - _EXPECTED) * hard + _EXPECTED * expected
        booster = Booster(found, hard, label, sample.weight, every_row // self.corpus.seq_len)
        grown = booster.grow(n_most, _MOST_ATOMS)
        return _sharpest_first(
            [_rule(feature, one, found, booster.prior, hard, sample.weight) for one in grown]
        )

    def _sample(self, row: int, carried: Sequence[Carried]) -> _Sample | None:
        """Draw the positions that a feature is learnt from; None where there is nothing to tell apart.

        Positions where it is silent are drawn evenly, and once more the likelier the more the head carries
        to it: few positions of an even draw would speak against a rule that is nearly right.
        """
        feature = int(self.batch.features[row])
        every = self.active.values["token"][self.active.one(row)]
        silent = self._silent(row, every)
        if len(every) < 2 or not silent[self.rows].any():
            return None
        active, likely = _drawn(every, _ACTIVE_POSITIONS, feature), np.flatnonzero(silent)
        expected = self._expected(carried, active, len(every), likely)
        chance = np.zeros(len(silent))
        chance[likely] = np.minimum(1, _NEAR_POSITIONS * expected / max(float(expected.sum()), 1e-300))
        near = likely[_uniform(likely, feature + 1) < chance[likely]]
        kept = silent[self.rows] & ~np.isin(self.rows, near)
        evenly = min(1.0, len(self.rows) / len(self.corpus.positions))
        of_silent = 1 / (1 - (1 - chance[np.r_[near, self.rows[kept]]]) * (1 - evenly))
        of_silent *= len(likely) / of_silent.sum()
        return _Sample(
            rows=np.r_[active, near],
            n_active=len(active),
            kept=kept,
            weight=np.r_[np.full(len(active), len(every) / len(active)), of_silent],
            share=len(every) / (len(every) + len(likely)),
        )

    def _silent(self, row: int, every: Ints) -> Bools:
        """Return whether a position is one that speaks against rules: [n_tokens]."""
        silent = np.ones((len(self.corpus.tokens) // self.corpus.seq_len, self.corpus.seq_len), bool)
        silent[:, 0] = False
        silent[self.held_out.values["number"][self.held_out.one(row)]] = False
        silent.reshape(-1)[every] = False
        return silent.reshape(-1)

    def _expected(self, carried: Sequence[Carried], active: Ints, n_active: int, wanted: Ints) -> Floats:
        """Return how likely the feature is at positions, from what its heads carry in all."""
        of_heads = [own.everywhere() for own in carried]
        numbers = np.stack([np.sum(column, axis=0) for column in zip(*of_heads, strict=True)], axis=1)
        others = self.rows[~np.isin(self.rows, active)]
        hard = np.r_[np.ones(len(active)), np.zeros(len(others))]
        n_others = max(1, len(self.corpus.positions) - n_active)
        weight = np.repeat([n_active / len(active), n_others / len(others)], [len(active), len(others)])
        return chances(numbers[np.r_[active, others]], hard, weight, numbers[wanted])

    def _numbers(self, row: int, carried: Sequence[Carried], rows: Ints) -> Floats:
        """Return what heads carry to a feature at positions, in all and through some keys: [len(rows), 5]."""
        columns = []
        for place, own in enumerate(carried):
            all_of_it, after_bos, bos = own.everywhere()
            parts = [own.through(keys[place], self.corpus.by_feature, rows) for keys in self.parts[row]]
            columns.append([all_of_it[rows], after_bos[rows], bos[rows], *parts])
        return np.asarray(np.sum(columns, axis=0).T)

    def _leading_tokens(self, carried: Sequence[Carried], rows: Ints) -> Ints:
        """Return the tokens through which heads act most where a feature is active, beyond anywhere."""
        n_tokens = self.base.sizes[TOKEN]
        of_heads = [own.by_token(self.corpus, (rows, self.rows), n_tokens) for own in carried]
        active, anywhere = np.sum(of_heads, axis=0)
        best = np.argsort(anywhere - active, kind="stable")[:_LEADING]
        return np.asarray(best[active[best] > anywhere[best]])


def _parts(batch: Batch, means: KeyMeans) -> list[list[list[Ints]]]:
    """Return by feature the input features that raise it most and those that lower it most, of each head."""
    scores = batch.scores.value_scores(batch.features) * (means.when_active - means.everywhere)
    of_heads = [np.split(score, len(batch.scores.through)) for score in scores]
    return [
        [[_largest(own, _RAISING) for own in heads], [_largest(-own, _LOWERING) for own in heads]]
        for heads in of_heads
    ]


def _largest(scores: Floats, n: int) -> Ints:
    """Return the places of the n largest numbers, of those above 0."""
    best = np.argsort(-scores, kind="stable")[:n]
    return np.asarray(best[scores[best] > 0])


def _groups(batch: Batch, means: KeyMeans) -> list[list[Ints]]:
    """Return by feature the input features of the first groups of `weighted_groups`."""
    found = grouped_rules(batch, means, max_rules=_POOLS)
    features = batch.scores.split(found.key_feature)[1]
    return [
        [
            np.unique(features[(found.feature == feature) & (found.rank == rank)])
            for rank in range(1, _POOLS + 1)
        ]
        for feature in batch.features.tolist()
    ]


def _inputs_of(batch: Batch, keys: Ints) -> Ints:
    """Return the input features of keys, which may be seen through several heads, in the keys' order."""
    features = batch.scores.split(keys)[1]
    return np.asarray(features[np.sort(np.unique(features, return_index=True)[1])])


def _uniform(positions: Ints, seed: int) -> Floats:
    """Return a number in [0, 1) for each position, drawn by a seed."""
    return mix32(mix32(np.array(seed)) + positions) / 2.0**32


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


def _unambiguous_texts(warehouse: Warehouse) -> dict[int, str]:
    """Return the text of every token that no other token shares."""
    return dict(warehouse.rows(step("token_texts")))


_RULES = {
    "feature": pl.Int64,
    "rank": pl.Int64,
    "statement": pl.String,
    "weight": pl.Float64,
    "prior": pl.Float64,
    "sample_precision": pl.Float64,
    "sample_recall": pl.Float64,
}


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
    return StatedRules(pl.DataFrame(rules, _RULES).to_arrow(), members)


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
