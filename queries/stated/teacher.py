"""How likely a feature is at a position, given what attention carries there: what rules are fitted to.

A feature is seldom active, so that whether it is says little of other text; what the head carries says it of
every position. Products of sparse matrices in numpy, as `queries.evaluation.carried`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnrules.queries.arrays import Floats, Ints, arrays, matrix
from attnrules.queries.csr import Grouped
from attnrules.queries.stated.corpus import Corpus
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.queries.heads import HeadScores
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "stated")
_evaluation = Statements("attnrules.queries", "evaluation")

# Newton's steps of a logistic fit, and how firmly its coefficients are held near 0.
_FITS, _RIDGE = 25, 1e-5


@dataclass(frozen=True)
class Carried:
    """What attention of one head carries to a feature in the sequences that rules are learnt from.

    Arguments:
        sources: by query token, the `key` token and `scaled`, A[q,k] / sigma_k. values: [n_tokens], what the
            sum over i of a[k,i] d_i W_V is to the feature; sums: [n_tokens], the head's output made of them;
            after_bos: the same without what BOS gives and without biases. bos: [n_tokens], the attention on
            BOS. reads: [n_inputs], how the feature reads each input feature through the head.
    """

    sources: Grouped
    values: Floats
    sums: Floats
    after_bos: Floats
    bos: Floats
    reads: Floats

    def everywhere(self) -> list[Floats]:
        """Return what is carried in all, without BOS, and attention on BOS: [n_tokens] each."""
        return [self.sums, self.after_bos, self.bos]

    def through(self, keys: Ints, by_key: Grouped, rows: Ints) -> Floats:
        """Return what some keys alone carry: [len(rows)].

        Arguments:
            keys: input features. by_key: by input feature, the `token` where it is active after BOS, and its
                `activation`.
        """
        entry = by_key.rows(keys)
        amount = np.repeat(self.reads[keys], by_key.n[keys]) * by_key.values["activation"][entry]
        value = np.bincount(by_key.values["token"][entry], amount, len(self.values))
        at = self.sources.rows(rows)
        row = np.repeat(np.arange(len(rows)), self.sources.n[rows])
        carried = self.sources.values["scaled"][at] * value[self.sources.values["key"][at]]
        return np.asarray(np.bincount(row, carried, len(rows)))

    def by_token(self, corpus: Corpus, places: Sequence[Ints], n_tokens: int) -> Floats:
        """Return what positions with each token bring on average: [place, n_tokens]."""
        return np.array([self._brought(corpus, rows, n_tokens) for rows in places])

    def _brought(self, corpus: Corpus, rows: Ints, n_tokens: int) -> Floats:
        at = self.sources.rows(rows)
        key = self.sources.values["key"][at]
        amount = self.sources.values["scaled"][at] * self.values[key]
        return np.asarray(np.bincount(corpus.tokens[key], amount, n_tokens) / len(rows))


@dataclass(frozen=True)
class Attention:
    """Where one head attends in the sequences that rules are learnt from, and how features read it.

    Arguments:
        sources: as those of `Carried`, and `weight`, A[q,k]. own: the head's weights and its features'.
            biases: [2, d_head], what input features and the model add to every value whatever the token.
    """

    corpus: Corpus
    own: HeadScores
    sources: Grouped
    bos: Floats
    biases: tuple[Floats, Floats]

    @classmethod
    def read(cls, warehouse: Warehouse, layer: int, own: HeadScores, corpus: Corpus) -> Attention:
        """Read what the head attends to."""
        n = len(corpus.tokens)
        at_head = {"layer": layer, "head": own.through[0]}
        rows = arrays(warehouse, step("learning_sources"), {**at_head, "seq_len": corpus.seq_len})
        sources = Grouped.by(rows["query"], n, {name: rows[name] for name in ("key", "scaled", "weight")})
        bos = np.bincount(rows["query"], np.where(rows["key"] % corpus.seq_len == 0, rows["weight"], 0), n)
        constants = warehouse.sql(_evaluation("value_biases"), at_head).to_arrow_table()
        decoder, model = (matrix(constants.column(name))[0] for name in ("decoder_bias_value", "b_V"))
        return cls(corpus, own, sources, bos.astype(np.float64), (decoder, model))

    def to(self, feature: int) -> Carried:
        """Add up what is carried to a feature.

        One feature at a time: a matrix for all of them would hold d_head numbers of every token, and adding
        those up takes as long as d_head features do.
        """
        n, encoder = len(self.corpus.tokens), self.own.encoders[feature]
        reads, (decoder, model) = self.own.values @ encoder, (bias @ encoder for bias in self.biases)
        inputs = self.corpus.inputs.values
        token = np.repeat(np.arange(n), self.corpus.inputs.n)
        values = _added(token, inputs["activation"] * reads[inputs["feature"]], n)
        key, scaled, weight = (self.sources.values[name] for name in ("key", "scaled", "weight"))
        query = np.repeat(np.arange(n), self.sources.n)
        amount = scaled * values[key]
        after_bos = _added(query, np.where(key % self.corpus.seq_len == 0, 0, amount), n)
        sums = _added(query, amount + scaled * decoder + weight * model, n)
        return Carried(self.sources, values, sums, after_bos, self.bos, reads)


def _added(at: Ints, amount: Floats, n: int) -> Floats:
    """Return what is added up at each of n places."""
    return np.asarray(np.bincount(at, amount, n), np.float64)


def chances(numbers: Floats, hard: Floats, weight: Floats, wanted: Floats | None = None) -> Floats:
    """Return how likely a feature is active given some numbers: a logistic regression, by Newton's method.

    Arguments:
        numbers: [n_rows, n]. hard: [n_rows], 1 where it is active. weight: [n_rows], positions that a row
            stands for. wanted: [n_wanted, n], numbers of the rows to return, those fitted for None.
    """
    total = weight.sum()
    middle = weight @ numbers / total
    spread = np.sqrt(weight @ (numbers - middle) ** 2 / total)
    spread[spread <= 0] = 1

    def scaled(of: Floats) -> Floats:
        return np.asarray(np.c_[(of - middle) / spread, np.ones(len(of))])

    x = scaled(numbers)
    share = weight @ hard / total
    fitted = np.zeros(x.shape[1])
    fitted[-1] = np.log(share / (1 - share))
    for _ in range(_FITS):
        chance = _logistic(x @ fitted)
        slope = x.T @ (weight * (hard - chance)) - _RIDGE * total * fitted
        bend = (x * (weight * chance * (1 - chance))[:, None]).T @ x + _RIDGE * total * np.eye(len(fitted))
        fitted += np.clip(np.linalg.solve(bend, slope), -1, 1)
    return _logistic((x if wanted is None else scaled(wanted)) @ fitted)


def _logistic(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))))
