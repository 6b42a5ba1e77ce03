"""Rules ranked by scores of the stored weights alone: `magnitude` and `unigram` (method.md section 3)."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from attnrules.queries.arrays import Floats, Ints, top_k
from attnrules.queries.heads import HeadScores
from attnrules.queries.skipgrams.finding import RankedRules, Search

# Rows of S computed at once: 256 x 24,576 doubles are 50 MB.
_KEYS_AT_ONCE = 256


def magnitude(search: Search) -> RankedRules:
    """Find the rules of the method `magnitude`."""
    spec = search.spec
    return magnitude_rules(
        search.batch.scores,
        search.batch.features,
        num_values=spec.num_values,
        num_queries=spec.num_queries,
        max_rules=spec.max_rules,
        negative_values=spec.negative_values,
    )


def unigram(search: Search) -> RankedRules:
    """Find the rules of the method `unigram`."""
    spec = search.spec
    return unigram_rules(
        search.batch.scores,
        search.batch.features,
        num_values=spec.num_values,
        max_rules=spec.max_rules,
        negative_values=spec.negative_values,
    )


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

    In a model with rotary positions S is the largest over the distances of the head (section 2.4).
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


def top_values(
    scores: HeadScores, features: Ints, num_values: int, negative_values: bool
) -> tuple[Ints, Floats]:
    """Return the keys with the largest V(f,i), or |V|, and these V: [len(features), num_values] each."""
    values = scores.value_scores(features)
    keys = top_k(np.abs(values) if negative_values else values, num_values)
    return keys, np.take_along_axis(values, keys, axis=1)


def top_queries(scores: HeadScores, keys: Ints, num_queries: int) -> tuple[Ints, Floats]:
    """Return the queries j with the largest S(i,j) and these S, [len(keys), num_queries] each.

    Ties are broken by query; `keys` ascend.
    """
    found = [_top_queries(own, of_head, num_queries) for own, of_head in scores.by_head(keys)]
    queries, attn = (np.concatenate(of_heads) for of_heads in zip(*found, strict=True))
    return queries, attn


def _top_queries(scores: HeadScores, keys: Ints, num_queries: int) -> tuple[Ints, Floats]:
    """Do the same for one head.

    Single precision finds the few queries that can be among them, whose S is then
    computed in double precision: half the time of selecting among doubles.
    """
    n = len(scores.queries)
    k = min(num_queries, n)
    # The largest entry of S, and how far single precision can be off, of each key.
    longest = scores.largest_gain * np.linalg.norm(scores.keys[keys], axis=1)
    largest = longest * np.linalg.norm(scores.queries, axis=1).max(initial=0)
    off = (scores.keys.shape[1] + 3) * np.finfo(np.float32).eps * largest
    single = np.float32 if largest.max(initial=0) < np.finfo(np.float32).max else np.float64
    across = np.ascontiguousarray(scores.queries.T, single)
    queries, attn = [np.zeros((0, k), np.int64)], [np.zeros((0, k))]
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        own = keys[start : start + _KEYS_AT_ONCE]
        turned = (np.matmul(keys_at.astype(single), across) for keys_at in scores.turned_keys(own))
        near = reduce(np.maximum, turned)
        least = _at_most_kth(near, k) - 2 * off[start : start + _KEYS_AT_ONCE]
        row, j = np.divmod(np.flatnonzero(near >= least[:, None].astype(single)), n)
        s, _ = scores.attn_scores(own[row], j)
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
