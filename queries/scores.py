"""Scores that come from the stored weights alone (method.md section 2), and the rules ranked by them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnrules.queries import step

if TYPE_CHECKING:
    from attnrules.warehouse import Query, Warehouse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Rows of S computed at once: 256 x 24,576 doubles are 50 MB.
_KEYS_AT_ONCE = 256
_LOW_32 = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class HeadScores:
    """The weights of one head that scores are inner products of, float64.

    Arguments:
        keys, queries, values: [n_input_features, d_head], row i is d_i through W_K, W_Q, W_V; under
            `model` scaling the biases are added and the queries divided by the attention scale.
        encoders: [n_output_features, d_head], row f is w_f.
    """

    keys: Floats
    queries: Floats
    values: Floats
    encoders: Floats

    def value_scores(self, features: Ints) -> Floats:
        """Return V(f,i) for every input feature: [len(features), n_input_features]."""
        return self.encoders[features] @ self.values.T


@dataclass(frozen=True)
class RankedRules:
    """Rules of several features, each feature's from rank 1; arrays of one length.

    Arguments:
        query_feature, attn_score: None for rules without a query; where only some have one, the query of
            the others is -1.
        support: further columns of the table `rules`, of rules that were counted in the corpus.
        contribution: of pairs counted in the corpus, the size of their contributions, and of those of all
            pairs that were seen before all but the largest were pruned.
    """

    feature: Ints
    rank: Ints
    key_feature: Ints
    query_feature: Ints | None
    attn_score: Floats | None
    value_score: Floats
    score: Floats
    support: dict[str, Floats] = field(default_factory=dict)
    contribution: tuple[float, float] = (0.0, 0.0)

    def of(self, features: Ints) -> RankedRules:
        """Return the rules of these features; needs rules that all have a query."""
        kept = np.isin(self.feature, features)
        chosen: dict[str, Any] = {
            of.name: getattr(self, of.name)[kept]
            for of in fields(self)
            if of.name not in ("support", "contribution")
        }
        support = {name: column[kept] for name, column in self.support.items()}
        return RankedRules(**chosen, support=support, contribution=self.contribution)


def head_scores(warehouse: Warehouse, layer: int, head: int, scaling: str) -> HeadScores:
    """Read the weights of a head.

    `paper` scaling leaves S as it stands. `model` scaling makes S(i,j) the logit that the model computes
    between residuals d_i and d_j of layer-norm scale 1: (d_i W_K + b_K) . (d_j W_Q + b_Q) / attn_scale.
    """
    at = {"layer": layer, "head": head}
    projections = warehouse.sql(step("projections"), at).to_arrow_table()
    keys, queries, values = (
        matrix(projections.column(name)) for name in ("key_vector", "query_vector", "value_vector")
    )
    if scaling == "model":
        biases = warehouse.sql(step("head_biases"), at).to_arrow_table()
        keys = keys + matrix(biases.column("b_K"))
        queries = (queries + matrix(biases.column("b_Q"))) / biases.column("attn_scale")[0].as_py()
    encoders = warehouse.sql(step("encoders"), at).to_arrow_table()
    return HeadScores(keys, queries, values, matrix(encoders.column("encoder")))


def magnitude_rules(
    scores: HeadScores,
    features: Ints,
    *,
    num_values: int,
    num_queries: int,
    max_rules: int,
    negative_values: bool,
) -> RankedRules:
    """Rank pairs by exp(S(i,j) + 1e-10) * V(f,i), largest first (method.md section 3.1).

    Ranked in log space, because exp(S) leaves even a double for S > 709; the score itself is then infinite.
    Ties are broken by (key, query).
    """
    keys, values = top_values(scores, features, num_values, negative_values)
    distinct, places = np.unique(keys, return_inverse=True)
    places = places.reshape(keys.shape)
    queries, attn = top_queries(scores, distinct, num_queries)
    n_queries = queries.shape[1]
    parts = []
    for row, feature in enumerate(features):
        v = np.repeat(values[row], n_queries)
        i = np.repeat(keys[row], n_queries)
        j = queries[places[row]].reshape(-1)
        s = attn[places[row]].reshape(-1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            size = np.where(v == 0, 0.0, np.sign(v) * (s + 1e-10 + np.log(np.abs(v))))
            score = np.where(v == 0, 0.0, np.exp(s + 1e-10) * v)
        best = np.lexsort((j, i, -size, -np.sign(v)))[:max_rules]
        rank = np.arange(1, len(best) + 1)
        owner = np.full(len(best), feature)
        parts.append((owner, rank, i[best], j[best], s[best], v[best], score[best]))
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return RankedRules(*columns)


def unigram_rules(
    scores: HeadScores, features: Ints, *, num_values: int, max_rules: int, negative_values: bool
) -> RankedRules:
    """Rank the features with the largest V(f,i), without a query (method.md section 3.3)."""
    keys, values = top_values(scores, features, num_values, negative_values)
    keys, values = keys[:, :max_rules], values[:, :max_rules]
    rank = np.tile(np.arange(1, keys.shape[1] + 1), len(features))
    owner = np.repeat(features, keys.shape[1])
    flat = values.reshape(-1)
    return RankedRules(owner, rank, keys.reshape(-1), None, None, flat, flat)


def one_blas_thread() -> AbstractContextManager[object]:
    """Hold BLAS at one thread: how it splits a product among threads decides the last bits of the result."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def top_k(scores: Floats, k: int) -> Ints:
    """Return the columns of the k largest entries of each row, largest first, ties by column."""
    k = min(k, scores.shape[1])
    smallest_kept = np.partition(scores, -k, axis=1)[:, -k][:, None]
    kept = scores >= smallest_kept
    tied = np.flatnonzero(np.count_nonzero(kept, axis=1) > k)
    equal = scores[tied] == smallest_kept[tied]
    room = k - (kept[tied] & ~equal).sum(axis=1, keepdims=True)
    kept[tied] &= ~equal | (equal.cumsum(axis=1) <= room)
    chosen = (np.flatnonzero(kept) % scores.shape[1]).reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def top_values(
    scores: HeadScores, features: Ints, num_values: int, negative_values: bool
) -> tuple[Ints, Floats]:
    """Return the keys with the largest V(f,i), or |V|, and these V: [len(features), num_values] each."""
    values = scores.value_scores(features)
    keys = top_k(np.abs(values) if negative_values else values, num_values)
    return keys, np.take_along_axis(values, keys, axis=1)


def top_queries(scores: HeadScores, keys: Ints, num_queries: int) -> tuple[Ints, Floats]:
    """Return the queries j with the largest S(i,j) and these S, [len(keys), num_queries] each.

    Ties are broken by query. Single precision finds the few queries that can be among them, whose S is then
    computed in double precision: half the time of selecting among doubles.
    """
    n = len(scores.queries)
    k = min(num_queries, n)
    # The largest entry of S, and how far single precision can be off, of each key.
    largest = np.linalg.norm(scores.keys[keys], axis=1) * np.linalg.norm(scores.queries, axis=1).max(
        initial=0
    )
    off = (scores.keys.shape[1] + 3) * np.finfo(np.float32).eps * largest
    single = np.float32 if largest.max(initial=0) < np.finfo(np.float32).max else np.float64
    across = np.ascontiguousarray(scores.queries.T, single)
    queries, attn = [np.zeros((0, k), np.int64)], [np.zeros((0, k))]
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        own = keys[start : start + _KEYS_AT_ONCE]
        near = np.matmul(scores.keys[own].astype(single), across)
        least = _at_most_kth(near, k) - 2 * off[start : start + _KEYS_AT_ONCE]
        row, j = np.divmod(np.flatnonzero(near >= least[:, None].astype(single)), n)
        s = np.einsum("nd,nd->n", scores.keys[own[row]], scores.queries[j])
        order = np.lexsort((j, -s, row))
        row = row[order]
        best = order[np.arange(len(row)) - np.searchsorted(row, row) < k].reshape(-1, k)
        queries.append(j[best])
        attn.append(s[best])
    return np.concatenate(queries), np.concatenate(attn)


def _at_most_kth(scores: npt.NDArray[np.floating[Any]], k: int) -> Floats:
    """Return for each row a bound that its k-th largest entry reaches, most often nearly the entry itself.

    The k-th largest of the maxima of 8 k or more sets of columns, which are not many more than that.
    """
    n_rows, n = scores.shape
    depth = max(1, n // (8 * k))
    width = n // depth
    maxima = scores[:, : depth * width].reshape(n_rows, depth, width).max(axis=1)
    return np.asarray(np.partition(maxima, -k, axis=1)[:, -k], np.float64)


def matrix(column: object) -> Floats:
    """Return an Arrow column of n vectors of width d as a matrix [n, d]."""
    import pyarrow as pa

    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    vectors = chunked.combine_chunks()
    flat = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return np.asarray(flat.reshape(len(vectors), -1))


def columns(
    warehouse: Warehouse, name: str, parameters: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Return the columns of a step's result, as `arrays` does."""
    return arrays(warehouse, step(name), parameters)


def arrays(
    warehouse: Warehouse, query: Query, parameters: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Return the columns of a query's result as numpy arrays, integers as int64 and the rest as float64."""
    table = warehouse.sql(query, parameters).to_arrow_table()
    stored = {column: table.column(column).to_numpy() for column in table.column_names}
    return {
        column: values.astype(np.int64 if np.issubdtype(values.dtype, np.integer) else np.float64)
        for column, values in stored.items()
    }


def mix32(numbers: Ints) -> Ints:
    """Return the macro `mix32` of the low 32 bits of each number: the finaliser of MurmurHash3."""
    h = numbers.astype(np.uint64) & _LOW_32
    h ^= h >> np.uint64(16)
    h = h * np.uint64(0x85EBCA6B) & _LOW_32
    h ^= h >> np.uint64(13)
    h = h * np.uint64(0xC2B2AE35) & _LOW_32
    h ^= h >> np.uint64(16)
    return h.astype(np.int64)
