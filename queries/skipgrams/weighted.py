"""Rules ranked by what the corpus says: `importance` and `weighted` (method.md section 3).

SQL gathers the sparse activations of a batch of features in one statement each; what remains per feature
is linear algebra on small dense blocks, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.queries.arrays import Floats, Ints, arrays, top_k
from attnrules.queries.csr import Grouped
from attnrules.queries.evaluation.carried import Attended
from attnrules.queries.skipgrams.finding import Batch, RankedRules, Search, fill, joined, ranked
from attnrules.queries.skipgrams.gates import choose_queries
from attnrules.sql import Statements
from attnrules.warehouse.arrow import arrow_table

if TYPE_CHECKING:
    import pyarrow as pa

    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "skipgrams")

# Train positions per feature that pairs are learnt from, and train positions that their base is estimated on.
PAIR_POSITIONS = 1_000
_BASE_POSITIONS = 8_192
# Tokens whose activations are held in memory at once: with 20 active features each, 200 MB.
_TOKENS_AT_ONCE = 1 << 19
# Longest list of key rules: beyond, it holds most of what attention carries and describes nothing.
MAX_KEY_RULES = 256
# Keys do the same thing when what the head moves of them points the same way; so many are read at a glance.
SAME_DIRECTION = 0.3
_KEYS_IN_GROUP = 8


@dataclass(frozen=True)
class KeyMeans:
    """What attention carries to a batch of features (method.md section 3.5).

    Arguments:
        when_active: mean of G[q,i] over the train positions where the feature is active,
            [n_features, n_keys]. everywhere: over all train positions, [n_keys].
        n_active: train positions where each feature is active; without any, a feature gets no rules.
    """

    when_active: Floats
    everywhere: Floats
    n_active: Ints

    def of(self, rows: Ints) -> KeyMeans:
        """Return the means of some of the features."""
        return replace(self, when_active=self.when_active[rows], n_active=self.n_active[rows])


def key_means(warehouse: Warehouse, batch: Batch) -> KeyMeans:
    """Aggregate G over the train positions of a batch; needs the temporary table `train_active`.

    A range of sequences at a time: with the attention summed over the positions where a feature is active,
    what its keys receive is one pass over the input features of the tokens attended to. The same as one SQL
    aggregation took 10 times as long on a head of GPT-2 small's size, for its 50 million groups.
    """
    sizes = arrays(warehouse, step("train_sizes"))
    n_keys = len(batch.scores.keys)
    when_active = np.zeros((len(batch.features), n_keys))
    everywhere = np.zeros(n_keys)
    seq_len, n_sequences = warehouse.rows(step("corpus_size"))[0]
    at_once = max(1, _TOKENS_AT_ONCE // seq_len)
    for first in range(0, n_sequences, at_once):
        here = {"first": first, "last": first + at_once - 1, "seq_len": seq_len}
        rows = arrays(warehouse, step("train_keys"), {"layer": batch.layer, **here})
        keys = Grouped.by(rows["token"], at_once * seq_len, rows, then=rows["feature"])
        rows = arrays(warehouse, step("train_active_rows"), here)
        row_of = np.searchsorted(batch.features, rows["feature"])
        active = Grouped.by(row_of, len(batch.features), {"token": rows["token"]}, then=rows["token"])
        for of_head, at in batch.attending():
            rows = arrays(warehouse, step("train_sources"), {**at, **here, "bos_keys": batch.bos_keys})
            sources = Grouped.by(rows["query"], at_once * seq_len, rows, then=rows["key"])
            everywhere[of_head] += _received(sources, keys, slice(None), batch.scores.n_inputs)
            for row in np.flatnonzero(active.n).tolist():
                tokens = active.values["token"][active.one(row)]
                when_active[row, of_head] += _received(
                    sources, keys, sources.rows(tokens), batch.scores.n_inputs
                )
    when_active /= np.maximum(sizes["n_active"], 1)[:, None]
    everywhere /= max(1, int(sizes["n_positions"].max(initial=0)))
    return KeyMeans(when_active, everywhere, sizes["n_active"])


def _received(sources: Grouped, keys: Grouped, chosen: Any, n_inputs: int) -> Floats:
    """Return the sum of G[q,i] over the sources chosen, for every input feature i: [n_inputs]."""
    weight = np.bincount(sources.values["key"][chosen], sources.values["weight"][chosen], len(keys.n))
    tokens = np.flatnonzero(weight)
    rows = keys.rows(tokens)
    amount = np.repeat(weight[tokens], keys.n[tokens]) * keys.values["activation"][rows]
    return np.bincount(keys.values["feature"][rows], amount, n_inputs).astype(np.float64)


def weighted(search: Search) -> RankedRules:
    """Find the rules of the method `weighted`."""
    return weighted_rules(search.batch, search.carried, max_rules=search.spec.max_rules, signed=False)


def weighted_signed(search: Search) -> RankedRules:
    """Find the rules of the method `weighted_signed`."""
    return weighted_rules(search.batch, search.carried, max_rules=search.spec.max_rules, signed=True)


def weighted_groups(search: Search) -> RankedRules:
    """Find the rules of the method `weighted_groups`."""
    return grouped_rules(search.batch, search.carried, max_rules=search.spec.max_rules)


def weighted_gates(search: Search) -> RankedRules:
    """Find the rules of the method `weighted_gates`."""
    return gated_rules(search.warehouse, search.batch, search.carried, max_rules=search.spec.max_rules)


def weighted_pairs(search: Search) -> RankedRules:
    """Find the rules of the method `weighted_pairs`."""
    spec = search.spec
    return paired_rules(
        search.warehouse, search.batch, search.carried, num_values=spec.num_values, max_rules=spec.max_rules
    )


def weighted_rules(batch: Batch, means: KeyMeans, *, max_rules: int, signed: bool) -> RankedRules:
    """Rank keys by V(f,i) times how much more attention carries i when f is active (method.md section 3.5).

    `signed` ranks by the size, which keeps the suppressors; `score` keeps the sign.
    """
    parts = []
    for row, v in enumerate(batch.scores.value_scores(batch.features)):
        score = v * (means.when_active[row] - means.everywhere)
        order = top_k((np.abs(score) if signed else score)[None], min(max_rules, MAX_KEY_RULES))[0]
        kept = order[score[order] != 0] if signed else order[score[order] > 0]
        if not means.n_active[row]:
            kept = kept[:0]
        parts.append(ranked(batch.features[row], kept, None, None, v[kept], score[kept]))
    return joined(parts)


def grouped_rules(batch: Batch, means: KeyMeans, *, max_rules: int) -> RankedRules:
    """Merge the keys of the key ranking that do the same thing: one rule per group of keys.

    From the top down, a key takes up to seven more of its head whose value vectors have a cosine above 0.3
    with its own: what two heads move lies in spaces of their own.
    Groups are ranked by the sum of their scores; every key is a row, the rows of a group share its rank.
    """
    keys = weighted_rules(batch, means, max_rules=MAX_KEY_RULES, signed=False)
    unit = batch.scores.values / np.maximum(np.linalg.norm(batch.scores.values, axis=1, keepdims=True), 1e-30)
    rank = np.zeros(len(keys.feature), np.int64)
    for feature in batch.features:
        rows = slice(*np.searchsorted(keys.feature, [feature, feature + 1]))
        own = keys.key_feature[rows]
        head = own // batch.scores.n_inputs
        similar = (unit[own] @ unit[own].T > SAME_DIRECTION) & (head[:, None] == head)
        group = np.full(len(similar), -1)
        for leader in range(len(group)):
            if group[leader] < 0:
                group[np.flatnonzero(similar[leader] & (group < 0))[:_KEYS_IN_GROUP]] = leader
        leaders, of_key = np.unique(group, return_inverse=True)
        total = np.bincount(of_key, keys.score[rows], len(leaders))
        place = np.empty(len(leaders), np.int64)
        place[np.argsort(-total, kind="stable")] = np.arange(len(leaders))
        rank[rows] = place[of_key] + 1
    kept = np.flatnonzero(rank <= max_rules)
    row = kept[np.lexsort((rank[kept], keys.feature[kept]))]
    return RankedRules(
        keys.feature[row],
        rank[row],
        keys.key_feature[row],
        None,
        None,
        keys.value_score[row],
        keys.score[row],
    )


def gated_rules(warehouse: Warehouse, batch: Batch, means: KeyMeans, *, max_rules: int) -> RankedRules:
    """Give the rules of `weighted_groups` a query side, where a few queries say when they count.

    Queries are chosen (`choose_queries`) on at most 1,000 train positions of each feature and at most 8,192
    of all. A rule with queries has a row for each pair of its keys and queries, all of its rank.
    """
    groups = grouped_rules(batch, means, max_rules=max_rules)
    _draw_positions(warehouse, batch)
    rows, queries = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    active = arrays(warehouse, step("gate_queries"), {"layer": batch.layer})
    for of_head, at in batch.attending():
        of_own = np.flatnonzero((groups.key_feature >= of_head.start) & (groups.key_feature < of_head.stop))
        through = groups.rows(of_own)
        through = replace(through, key_feature=through.key_feature - of_head.start)
        for row, gate in _gates(warehouse, batch, through, at, active):
            rows.append(np.full(len(gate), of_own[row]))
            queries.append(gate)
    owner, j = np.concatenate(rows), np.concatenate(queries)
    in_order = np.argsort(owner, kind="stable")
    owner, j = owner[in_order], j[in_order]
    i = groups.key_feature[owner]
    s = batch.scores.at_pairs(i, j)[0]
    return RankedRules(
        groups.feature[owner], groups.rank[owner], i, j, s, groups.value_score[owner], groups.score[owner]
    )


def _gates(
    warehouse: Warehouse, batch: Batch, groups: RankedRules, at: dict[str, int], active: dict[str, Any]
) -> Iterator[tuple[int, Ints]]:
    """Yield the queries of each row of the groups of one head, -1 for none.

    Arguments:
        groups: of one head, its keys numbered by input feature. at: places a statement on its attention.
        active: columns of `gate_queries`.
    """
    own = [np.flatnonzero(groups.feature == feature) for feature in batch.features]
    keys = [groups.key_feature[rows] for rows in own]
    values = [groups.value_score[rows] for rows in own]
    fill(warehouse, "candidate_keys", batch.features, key_feature=keys, value_score=values)
    scope, attended = _attended_at_gates(warehouse, batch, at)
    n_base = int(np.searchsorted(scope, 0))
    n_inputs = batch.scores.n_inputs
    all_keys = np.unique(groups.key_feature)
    everywhere = _received_by(attended, range(n_base), all_keys, batch)
    for feature, mine, key, v in zip(batch.features, own, keys, values, strict=True):
        if not len(mine):
            continue
        first, last = np.searchsorted(scope, [feature, feature + 1])
        ranks, rule = np.unique(groups.rank[mine], return_inverse=True)
        n_rules = len(ranks)
        order = np.argsort(key)
        of_own = _received_by(attended, range(first, last), key[order], batch)
        column = np.searchsorted(all_keys, key[order])
        of_base = everywhere.rows(column)
        of_key = np.r_[
            np.repeat(order, everywhere.n[column]), np.repeat(order, of_own.n)
        ]  # number of the key of each amount
        place = np.r_[everywhere.values["place"][of_base], of_own.values["place"] - first + n_base]
        amount = np.r_[everywhere.values["amount"][of_base], of_own.values["amount"]]
        carried = np.bincount(
            place * n_rules + rule[of_key], v[of_key] * amount, (n_base + last - first) * n_rules
        ).astype(np.float64)
        here = _at_places(active, n_base, first, last)
        gates = choose_queries(
            carried.reshape(-1, n_rules), n_base, here["place"], here["query_feature"], n_inputs
        )
        for row, of_rule in zip(mine.tolist(), rule, strict=True):
            yield row, gates[of_rule] if len(gates[of_rule]) else np.array([-1])


def _attended_at_gates(warehouse: Warehouse, batch: Batch, at: dict[str, int]) -> tuple[Ints, Attended]:
    """Return the scope of each of `gate_positions`, and what they attend to of `candidate_keys`.

    Those that stand for all come first, their scope is -1, then those of one feature after another.
    """
    attended = Attended.of(
        arrays(warehouse, step("gate_sources"), at),
        arrays(warehouse, step("gate_keys"), {"layer": batch.layer}),
    )
    return arrays(warehouse, step("gate_scopes"))["scope"], attended


def _received_at_gates(warehouse: Warehouse, batch: Batch, at: dict[str, int], keys: list[Ints]) -> pa.Table:
    """Return rows of `received`: G[q,i] of the keys of each feature, and of any where all positions stand."""
    scope, attended = _attended_at_gates(warehouse, batch, at)
    parts = []
    for of_scope, own in [(-1, np.concatenate(keys)), *zip(batch.features.tolist(), keys, strict=True)]:
        places = range(*np.searchsorted(scope, [of_scope, of_scope + 1]).tolist())
        in_order = np.unique(own)
        received = _received_by(attended, places, in_order, batch)
        parts.append({**received.values, "key_feature": np.repeat(in_order, received.n)})
    return arrow_table({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _received_by(attended: Attended, places: range, keys: Ints, batch: Batch) -> Grouped:
    """Return G[q,i] at some places by each of `keys`, which ascend."""
    column_of = np.full(batch.scores.n_inputs, -1)
    column_of[keys] = np.arange(len(keys))
    return attended.received(places, column_of, len(keys), bos_keys=batch.bos_keys)


def _at_places(rows: dict[str, Any], n_base: int, first: int, last: int) -> dict[str, Any]:
    """Return the rows at the first `n_base` places and at `first` up to `last`, numbered on from there."""
    end, start, stop = np.searchsorted(rows["place"], [n_base, first, last])
    kept = np.r_[:end, start:stop]
    found = {name: column[kept] for name, column in rows.items()}
    found["place"] = np.where(found["place"] < n_base, found["place"], found["place"] - first + n_base)
    return found


def paired_rules(
    warehouse: Warehouse, batch: Batch, means: KeyMeans, *, num_values: int, max_rules: int
) -> RankedRules:
    """Rank strict (key, query) pairs by V(f,i) times how much more G[q,i] 1[a_j > 0] is when f is active.

    Keys are the first `num_values` of the key ranking; sums are taken over at most 1,000 train positions of
    each feature, the base over at most 8,192 train positions (method.md section 3.9).
    """
    keys, values = leading_keys(batch, means, num_values)
    _draw_positions(warehouse, batch)
    found = []
    for of_head, at in batch.attending():
        of_feature = [(own >= of_head.start) & (own < of_head.stop) for own in keys]
        here = [own[kept] - of_head.start for own, kept in zip(keys, of_feature, strict=True)]
        of_keys = [own[kept] for own, kept in zip(values, of_feature, strict=True)]
        fill(warehouse, "candidate_keys", batch.features, key_feature=here, value_score=of_keys)
        warehouse.execute(step("make_received"))
        warehouse.append("received", _received_at_gates(warehouse, batch, at, here))
        of_layer = {"layer": batch.layer}
        warehouse.execute(step("make_candidate_pairs"), {**of_layer, "n_pairs": 2 * max_rules})
        of_pairs = arrays(warehouse, step("pairs_everywhere"), of_layer)
        of_pairs["key_feature"] += of_head.start
        found.append(of_pairs)
    rows = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    n_active = np.minimum(means.n_active, PAIR_POSITIONS)
    owner = np.searchsorted(batch.features, rows["feature"])
    score = rows["value_score"] * (rows["amount"] / np.maximum(n_active[owner], 1) - rows["mean_everywhere"])
    order = np.lexsort((rows["query_feature"], rows["key_feature"], -score, rows["feature"]))
    order = order[score[order] > 0]
    parts = []
    for feature in batch.features:
        first, last = np.searchsorted(rows["feature"][order], [feature, feature + 1])
        best = order[first:last][:max_rules]
        i, j = rows["key_feature"][best], rows["query_feature"][best]
        s = batch.scores.at_pairs(i, j)[0]
        parts.append(ranked(feature, i, j, s, rows["value_score"][best], score[best]))
    return joined(parts)


def _draw_positions(warehouse: Warehouse, batch: Batch) -> None:
    """Draw the train positions of each feature, and those that stand for all: make `gate_positions`."""
    drawn = {"seed": batch.seed, "n_most": _BASE_POSITIONS}
    warehouse.execute(step("make_base_positions"), drawn)
    warehouse.execute(step("make_gate_positions"), {"n_most": PAIR_POSITIONS})


def leading_keys(batch: Batch, means: KeyMeans, num_values: int) -> tuple[Ints, Floats]:
    """Return the first keys of the key ranking and their V(f,i): [n_features, num_values] each."""
    v = batch.scores.value_scores(batch.features)
    keys = top_k(v * (means.when_active - means.everywhere), num_values)
    return keys, np.take_along_axis(v, keys, axis=1)
