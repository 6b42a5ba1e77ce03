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
    """What attention of one head carries in the sequences that rules are learnt from.

    Arguments:
        sources: by query token, the `key` token and `scaled`, A[q,k] / sigma_k. values: [n_tokens, d_head],
            the sum over i of a[k,i] d_i W_V. sums: [n_tokens, d_head], the head's output made of them;
            after_bos: the same without what BOS gives and without biases. bos: [n_tokens], the attention on
            BOS. encoders: [n_output_features, d_head], how features read the head. reads: [n_inputs, d_head].
    """

    sources: Grouped
    values: Floats
    sums: Floats
    after_bos: Floats
    bos: Floats
    encoders: Floats
    reads: Floats

    @classmethod
    def read(cls, warehouse: Warehouse, layer: int, own: HeadScores, corpus: Corpus) -> Carried:
        """Read what the head attends to, and add up what that carries."""
        n = len(corpus.tokens)
        at_head = {"layer": layer, "head": own.through[0]}
        rows = arrays(warehouse, step("learning_sources"), {**at_head, "seq_len": corpus.seq_len})
        sources = Grouped.by(rows["query"], n, {name: rows[name] for name in ("key", "scaled")})
        token = np.repeat(np.arange(n), corpus.inputs.n)
        feature, activation = (corpus.inputs.values[name] for name in ("feature", "activation"))
        constants = warehouse.sql(_evaluation("value_biases"), at_head).to_arrow_table()
        biases = {name: matrix(constants.column(name))[0] for name in constants.column_names}
        values, sums, after_bos = (np.zeros((n, own.values.shape[1])) for _ in range(3))
        is_bos = rows["key"] % corpus.seq_len == 0
        for at, column in enumerate(np.ascontiguousarray(own.values.T)):
            values[:, at] = np.bincount(token, activation * column[feature], n)
            amount = rows["scaled"] * values[rows["key"], at]
            after_bos[:, at] = np.bincount(rows["query"], np.where(is_bos, 0, amount), n)
            amount += rows["scaled"] * biases["decoder_bias_value"][at] + rows["weight"] * biases["b_V"][at]
            sums[:, at] = np.bincount(rows["query"], amount, n)
        bos = np.bincount(rows["query"], np.where(is_bos, rows["weight"], 0), n).astype(np.float64)
        return cls(sources, values, sums, after_bos, bos, own.encoders, own.values)

    def everywhere(self, feature: int) -> list[Floats]:
        """Return what is carried to a feature, without BOS, and attention on BOS: [n_tokens] each."""
        encoder = self.encoders[feature]
        return [self.sums @ encoder, self.after_bos @ encoder, self.bos]

    def through(self, feature: int, keys: Ints, by_key: Grouped, rows: Ints) -> Floats:
        """Return what some keys alone carry to a feature: [len(rows)].

        Arguments:
            keys: input features. by_key: by input feature, the `token` where it is active after BOS, and its
                `activation`.
        """
        entry = by_key.rows(keys)
        moved = np.repeat(self.reads[keys] @ self.encoders[feature], by_key.n[keys])
        amount = moved * by_key.values["activation"][entry]
        value = np.bincount(by_key.values["token"][entry], amount, len(self.values))
        at = self.sources.rows(rows)
        row = np.repeat(np.arange(len(rows)), self.sources.n[rows])
        carried = self.sources.values["scaled"][at] * value[self.sources.values["key"][at]]
        return np.asarray(np.bincount(row, carried, len(rows)))

    def by_token(self, feature: int, corpus: Corpus, places: Sequence[Ints], n_tokens: int) -> Floats:
        """Return what positions with each token bring a feature on average: [place, n_tokens]."""
        reads = self.values @ self.encoders[feature]
        return np.array([self._brought(corpus, rows, reads, n_tokens) for rows in places])

    def _brought(self, corpus: Corpus, rows: Ints, reads: Floats, n_tokens: int) -> Floats:
        at = self.sources.rows(rows)
        key = self.sources.values["key"][at]
        brought = np.bincount(corpus.tokens[key], self.sources.values["scaled"][at] * reads[key], n_tokens)
        return np.asarray(brought / len(rows))


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
