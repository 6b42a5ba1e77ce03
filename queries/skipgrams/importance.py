"""Pairs ranked by the gradient of a linearised head: `importance` (method.md section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.queries.arrays import Floats, Ints, arrays
from attnrules.queries.heads import HeadScores, Rotation
from attnrules.queries.skipgrams.finding import Batch, RankedRules, Search, fill, joined, ranked
from attnrules.queries.skipgrams.weights import top_queries, top_values
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "skipgrams")


def importance(search: Search) -> RankedRules:
    """Find the rules of the method `importance`."""
    spec = search.spec
    return importance_rules(
        search.warehouse,
        search.batch,
        num_values=spec.num_values,
        num_queries=spec.num_queries,
        max_rules=spec.max_rules,
        negative_values=spec.negative_values,
        scaling=spec.scaling,
    )


def importance_rules(
    warehouse: Warehouse,
    batch: Batch,
    *,
    num_values: int,
    num_queries: int,
    max_rules: int,
    negative_values: bool,
    scaling: str,
) -> RankedRules:
    """Rank pairs by the size of their importance, ties by (key, query) (method.md section 3.2).

    The gradient of the linearised heads, whose sum is what the feature reads, with respect to a mask over all
    (candidate key, candidate query) pairs of each head, summed over the train examples of the set `paper` in
    train sequences, in its closed form. Pairs of zero importance are no rules.
    """
    keys, values = top_values(batch.scores, batch.features, num_values, negative_values)
    queries = _distinct_queries(batch.scores, keys, num_queries)
    n_inputs = batch.scores.n_inputs
    fill(warehouse, "candidate_keys", batch.features, key_feature=keys % n_inputs, value_score=values)
    of_any_head = [np.unique(np.concatenate(of_heads)) for of_heads in queries]
    fill(warehouse, "candidate_queries", batch.features, query_feature=of_any_head)
    warehouse.execute(step("make_train_examples"), batch.at)
    examples = arrays(warehouse, step("train_examples"))
    scaled = {"layer": batch.layer, "scaling": scaling}
    key_rows = arrays(warehouse, step("train_example_keys"), {**scaled, "bos_keys": batch.bos_keys})
    query_rows = arrays(warehouse, step("train_example_queries"), scaled)
    parts = []
    for row, feature in enumerate(batch.features):
        first, last = np.searchsorted(examples["feature"], [feature, feature + 1])
        here = _Here(
            examples["pos"][first:last], _slice(key_rows, first, last), _slice(query_rows, first, last)
        )
        ascending = np.argsort(keys[row])
        ends = np.searchsorted(keys[row][ascending], np.arange(1, len(batch.scores.through)) * n_inputs)
        of_heads = [
            _of_head(own, keys[row][at] % n_inputs, values[row][at], candidates, here)
            for own, at, candidates in zip(
                batch.scores.each(), np.split(ascending, ends), queries[row], strict=True
            )
        ]
        place = np.repeat(np.arange(len(of_heads)), [len(found[0]) for found in of_heads])
        i, j, s, v, size = (np.concatenate(column) for column in zip(*of_heads, strict=True))
        best = np.argsort(-np.abs(size), kind="stable")[:max_rules]
        parts.append(ranked(feature, (place * n_inputs + i)[best], j[best], s[best], v[best], size[best]))
    return joined(parts)


@dataclass(frozen=True)
class _Here:
    """The examples of a feature: position of each, and activations of candidate keys and queries there.

    `example` of the rows is the place in `pos`.
    """

    pos: Ints
    keys: dict[str, Any]
    queries: dict[str, Any]


def _of_head(
    scores: HeadScores, k: Ints, v: Floats, candidates: Ints, here: _Here
) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Return (key, query, S, V, importance) of the pairs of a head whose importance is not zero, by pair.

    Arguments:
        k, v: [n], candidate keys, ascending, and their V(f,i). candidates: the queries of any of them.
    """
    at_queries = _of(here.queries, candidates)
    # A query that is active at no example has no importance.
    q = np.unique(at_queries["feature"])
    own = _of(here.keys, k)
    at_keys = np.zeros((len(here.pos), int(here.pos.max(initial=0)) + 1, len(k)))
    at_keys[own["example"], own["pos"], np.searchsorted(k, own["feature"])] = own["activation"]
    at_query = np.zeros((len(here.pos), len(q)))
    at_query[at_queries["example"], np.searchsorted(q, at_queries["feature"])] = at_queries["activation"]
    s = scores.keys[k] @ scores.queries[q].T
    at = at_keys, at_query, here.pos
    if scores.rotation is None:
        flat = closed_form_importance(*at, s, v).reshape(-1)
    else:
        flat = turned_importance(*at, scores.keys[k], scores.queries[q], v, scores.rotation).reshape(-1)
    found = np.flatnonzero(flat)
    i, j = np.divmod(found, max(1, len(q)))
    return k[i], q[j], s[i, j], v[i], flat[found]


def _of(rows: dict[str, Any], features: Ints) -> dict[str, Any]:
    """Return the rows of these input features."""
    kept = np.isin(rows["feature"], features)
    return {name: column[kept] for name, column in rows.items()}


def closed_form_importance(at_keys: Floats, at_query: Floats, pos: Ints, s: Floats, v: Floats) -> Floats:
    """Return importance [n_keys, n_queries] (method.md section 3.2).

    Arguments:
        at_keys: a[n,i], [n_examples, n_positions, n_keys]. at_query: a[q,j], [n_examples, n_queries].
        pos: q of each example; the softmax runs over positions 0 to q.
        s: S(i,j), [n_keys, n_queries]. v: V(f,i), [n_keys].
    """
    pull = at_query @ s.T
    slope = _slopes(np.matmul(at_keys, pull[:, :, None])[:, :, 0], pos, at_keys @ v)
    reached = np.matmul(slope[:, None], at_keys)[:, 0]
    return np.asarray(s * (reached.T @ at_query))


def turned_importance(
    at_keys: Floats, at_query: Floats, pos: Ints, keys: Floats, queries: Floats, v: Floats, rotation: Rotation
) -> Floats:
    """Return importance [n_keys, n_queries] where S depends on the distance (method.md section 3.2).

    S is that of each example's own distances q - n. A pair of dimensions is one complex number, which the
    rotation multiplies: sums over positions are then products per frequency, and no S_D is ever formed.

    Arguments:
        at_keys, at_query, pos, v: as in `closed_form_importance`.
        keys, queries: d_i W_K [n_keys, d_head] and d_j W_Q [n_queries, d_head].
    """
    key_pairs, key_rest = rotation.as_complex(keys)
    query_pairs, query_rest = rotation.as_complex(queries)
    distance = pos[:, None] - np.arange(at_keys.shape[1])
    # [n_examples, n_positions, n_pairs], by how much the keys there are turned back.
    phase = np.exp(-1j * distance[:, :, None] * rotation.frequencies) * rotation.magnitude**2
    asked = (at_query @ query_pairs).conj()[:, None]
    logits = (asked * (at_keys @ key_pairs) * phase).real.sum(axis=2)
    logits += np.matmul(at_keys @ key_rest, (at_query @ query_rest)[:, :, None])[:, :, 0]
    slope = _slopes(logits, pos, at_keys @ v)
    reached = np.matmul(slope[:, None], at_keys)[:, 0]
    importance = (key_rest @ query_rest.T) * (reached.T @ at_query)
    turned = np.matmul((slope[:, :, None] * phase).swapaxes(1, 2), at_keys)
    for pair in range(turned.shape[1]):
        score = np.outer(key_pairs[:, pair], query_pairs[:, pair].conj())
        importance += (score * (turned[:, pair].T @ at_query)).real
    return np.asarray(importance)


def _slopes(logits: Floats, pos: Ints, u: Floats) -> Floats:
    """Return p_n (u_n - pred), [n_examples, n_positions], of logits s_n, which become -inf beyond q."""
    logits[np.arange(logits.shape[1]) > pos[:, None]] = -np.inf
    logits -= logits.max(axis=1, keepdims=True, initial=-np.inf)
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    return np.asarray(p * (u - (p * u).sum(axis=1, keepdims=True)))


def _distinct_queries(scores: HeadScores, keys: Ints, num_queries: int) -> list[list[Ints]]:
    """Return for each row of keys, and for each head, the queries of its keys of that head."""
    distinct, places = np.unique(keys, return_inverse=True)
    best, _ = top_queries(scores, distinct, num_queries)
    head = keys // scores.n_inputs
    return [
        [np.unique(best[row[own == place]]) for place in range(len(scores.through))]
        for row, own in zip(places.reshape(keys.shape), head, strict=True)
    ]


def _slice(rows: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    """Return the rows of the examples `first` up to `last`, numbered from 0; rows are in order of example."""
    start, stop = np.searchsorted(rows["example"], [first, last])
    own = {name: column[start:stop] for name, column in rows.items()}
    return {**own, "example": own["example"] - first}
