"""What attention carries to judged positions: G[q,i] of each head, and predictions that sum V(f,i) G[q,i].

Products of sparse matrices, in numpy. The same as SQL aggregations took 18 s of processor time for the 204
features of a head of the demo, against 2 s here under a profiler: each of 112 million addends met a hash
table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.queries.arrays import Floats, Ints, arrays, exact_sums, run_starts
from attnrules.queries.csr import Grouped
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "evaluation")

# Cells of places and keys summed at once: bounds memory, not results.
_CELLS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Attended:
    """The tokens that positions attend to, and the input features active there.

    Arguments:
        place: [n], ascending, the position of each source. token: [n], its group in `active`.
        after_bos: [n], whether its token is none at the start of a sequence.
        weights: [n] each, the attention `from_features` and `by_model`.
        active: by token, the `feature` and its `activation` over the scale computed from the features.
    """

    place: Ints
    token: Ints
    after_bos: Any
    weights: dict[str, Floats]
    active: Grouped

    @classmethod
    def read(cls, warehouse: Warehouse) -> Attended:
        """Read the temporary tables `attended` and `scaled_activations`."""
        return cls.of(arrays(warehouse, step("attended_tokens")), arrays(warehouse, step("token_features")))

    @classmethod
    def of(cls, sources: dict[str, Any], active: dict[str, Any]) -> Attended:
        """Return what columns say of sources, in order of place, and of features active at tokens.

        Tokens are 65536 x sequence + position; the columns are those of `attended_tokens` and
        `token_features`.
        """
        tokens = np.unique(np.r_[active["token"], sources["token"]])
        features = {name: active[name] for name in ("feature", "activation")}
        return cls(
            sources["place"],
            np.searchsorted(tokens, sources["token"]),
            sources["token"] % 65536 > 0,
            {name.removeprefix("weight_"): sources[name] for name in sources if name.startswith("weight_")},
            Grouped.by(np.searchsorted(tokens, active["token"]), len(tokens), features),
        )

    def received(self, places: range, column_of: Ints, n_columns: int, *, bos_keys: bool) -> Grouped:
        """Return G[q,i] of method.md section 3.5 at a range of places, by column: `place` and `amount`.

        Arguments:
            column_of: [n_input_features], -1 for keys that are not asked for.
            bos_keys: whether the token at the start of a sequence counts.
        """
        found = [
            self._block(block, column_of, n_columns, bos_keys=bos_keys)
            for block in _blocks(places, max(1, _CELLS_AT_ONCE // max(1, n_columns)))
        ]
        place, column, amount = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Grouped.by(column, n_columns, {"place": place, "amount": amount})

    def _block(
        self, places: range, column_of: Ints, n_columns: int, *, bos_keys: bool
    ) -> tuple[Ints, Ints, Floats]:
        """Return G[q,i] of the keys that are asked for, by place and column: [n] each."""
        first, last = np.searchsorted(self.place, [places.start, places.stop])
        source = np.arange(first, last)
        if not bos_keys:
            source = source[self.after_bos[first:last]]
        row, column, activation = self._asked(source, column_of)
        place, weight = self.place[source] - places.start, self.weights["from_features"][source]
        amount, cell = weight[row] * activation, place[row] * n_columns + column
        n_cells = len(places) * n_columns
        # What attention of weight 0 carries is a row too.
        met = np.flatnonzero(np.bincount(cell, minlength=n_cells))
        # No sum is larger than that of a key as active as any, at every token that the place attends to.
        attention = np.bincount(place, np.abs(weight)).max(initial=0)
        most = attention * np.abs(activation).max(initial=0)
        amounts = exact_sums(cell, amount, n_cells, float(most))[met]
        place, column = np.divmod(met, max(1, n_columns))
        return place + places.start, column, amounts

    def _asked(self, source: Ints, column_of: Ints) -> tuple[Ints, Ints, Floats]:
        """Return the features asked for at tokens of sources: [n] each, the place in `source`, the column.

        And the activation.
        """
        token, active = self.token[source], self.active
        # Where tokens are attended to many times, others are left out once and not each time.
        if active.n[token].sum() > len(active.values["feature"]):
            active = active.where(column_of[active.values["feature"]] >= 0)
        entry = active.rows(token)
        row, column = (
            np.repeat(np.arange(len(token)), active.n[token]),
            column_of[active.values["feature"][entry]],
        )
        if active is self.active:
            asked = column >= 0
            row, column, entry = row[asked], column[asked], entry[asked]
        return row, column, active.values["activation"][entry]


def _blocks(places: range, at_once: int) -> Iterator[range]:
    for first in range(places.start, places.stop, at_once):
        yield range(first, min(first + at_once, places.stop))
    if not len(places):
        yield places


@dataclass(frozen=True)
class Received:
    """G[q,i] at every judged position, of the keys that lists of its scope hold.

    Arguments:
        keys: [n], scope x number of keys + key, ascending, keys numbered as in `HeadScores`. amounts: by key,
            `place` and `amount`.
        places: the judged places of each scope. n_keys: of all heads together.
        most: the largest sum of amounts over the keys of a place.
    """

    keys: Ints
    amounts: Grouped
    places: dict[int, range]
    n_keys: int
    most: float

    def row(self, scope: int, key: Ints) -> Ints:
        """Return where keys of a scope are in `amounts`."""
        return np.searchsorted(self.keys, scope * self.n_keys + key)


class Receiving:
    """What the judged places receive of pairs (scope, key), read one head after another.

    Arguments:
        scope_of: the scope of each place. scope, key: [n] each, the pairs.
        n_inputs: number of input features, of each of `n_heads` heads.
    """

    def __init__(self, scope_of: Ints, scope: Ints, key: Ints, n_inputs: int, n_heads: int) -> None:
        self._n_inputs, self._n_keys = n_inputs, n_inputs * n_heads
        self._keys = np.unique(scope * self._n_keys + key)
        scopes = np.unique(scope_of)
        ends = np.searchsorted(scope_of, scopes), np.searchsorted(scope_of, scopes, side="right")
        self._places = {
            own: range(first, last)
            for own, first, last in zip(scopes.tolist(), *(e.tolist() for e in ends), strict=True)
        }
        self._parts: dict[int, list[Grouped]] = {own: [] for own in self._places}

    def add(self, attended: Attended, *, bos_keys: bool) -> None:
        """Add what the next head carries."""
        for own, places in self._places.items():
            start = own * self._n_keys + len(self._parts[own]) * self._n_inputs
            first, last = np.searchsorted(self._keys, [start, start + self._n_inputs])
            column_of = np.full(self._n_inputs, -1)
            column_of[self._keys[first:last] - start] = np.arange(last - first)
            self._parts[own].append(attended.received(places, column_of, last - first, bos_keys=bos_keys))

    def received(self) -> Received:
        """Return what all heads carry."""
        nothing = {"place": np.zeros(0, np.int64), "amount": np.zeros(0)}
        # Without a place to judge there is no scope.
        parts = [part for of_scope in self._parts.values() for part in of_scope] or [
            Grouped.by(nothing["place"], len(self._keys), nothing)
        ]
        n = np.concatenate([part.n for part in parts])
        values = {name: np.concatenate([p.values[name] for p in parts]) for name in ("place", "amount")}
        most = float(np.bincount(values["place"], values["amount"]).max(initial=0))
        return Received(self._keys, Grouped(np.cumsum(n) - n, n, values), self._places, self._n_keys, most)


@dataclass(frozen=True)
class Queries:
    """Where queries of lists are active: by scope x number of input features + query, the `place`."""

    active: Grouped
    n_inputs: int

    @classmethod
    def read(cls, warehouse: Warehouse, n_inputs: int) -> Queries:
        """Read the temporary table `query_side`."""
        rows = arrays(warehouse, step("active_queries"))
        group = rows["scope"] * n_inputs + rows["query_feature"]
        # The last group, of no query, is empty.
        n_groups = int(group.max(initial=-1)) + 2
        return cls(Grouped.by(group, n_groups, {"place": rows["place"]}), n_inputs)

    def where_active(self, scope: int, queries: Ints) -> tuple[Ints, Ints]:
        """Return where each of some queries is active: its number among them, and the place."""
        group = np.minimum(scope * self.n_inputs + queries, len(self.active.n) - 1)
        return np.repeat(np.arange(len(queries)), self.active.n[group]), self.active.values["place"][
            self.active.rows(group)
        ]


@dataclass(frozen=True)
class Predicted:
    """What the first `n_rules` rules of a feature, or a baseline of 0 rules, predict at judged places.

    Arguments:
        place: [n], ascending, where they say something. prediction: [n].
    """

    feature: int
    n_rules: int
    place: Ints
    prediction: Floats


def list_predictions(
    rules: dict[str, Any], received: Received, queries: Queries, grid: Sequence[int]
) -> Iterator[Predicted]:
    """Yield the predictions of one feature after another: sums of V(f,i) G[q,i] over a list.

    Each key of a rule counts once, where one of the rule's queries is active; everywhere, where it has none.

    Arguments:
        rules: columns of `list_rules`, in order of feature and rank, and `key`, the numbers of their keys.
        grid: numbers of rules, ascending.
    """
    starts = run_starts(rules["feature"])
    for rows in map(slice, starts, np.r_[starts[1:], len(rules["feature"])]):
        own = {name: column[rows] for name, column in rules.items()}
        scope, feature = int(own["scope"][0]), int(own["feature"][0])
        if scope not in received.places:
            continue
        scores, met = _bucket_scores(own, received, queries, received.places[scope])
        yield from _first_rules(feature, scores, met, received.places[scope], np.unique(own["n_rules"]), grid)


def _bucket_scores(
    rules: dict[str, Any], received: Received, queries: Queries, places: range
) -> tuple[Floats, Any]:
    """Return the sum over the rules of each bucket, and whether one met a key: [n_buckets, n_places] each."""
    scope = int(rules["scope"][0])
    _, once = np.unique(rules["rank"] * received.n_keys + rules["key"], return_index=True)
    rank, gated = rules["rank"][once], rules["query_feature"][once] >= 0
    row = received.row(scope, rules["key"][once])
    n = received.amounts.n[row]
    met = received.amounts.columns_of(row)
    place, score = met["place"] - places.start, met["amount"]
    value = rules["value_score"][once]
    score *= np.repeat(value, n)
    buckets, bucket = np.unique(rules["n_rules"], return_inverse=True)
    cell = np.repeat(bucket[once] * len(places), n) + place
    if gated.any():
        is_open = _open(rules, queries, places)
        kept = ~np.repeat(gated, n) | is_open[np.repeat(rank, n), place]
        cell, score = cell[kept], score[kept]
    n_cells = len(buckets) * len(places)
    found = np.zeros(n_cells, bool)
    found[cell] = True
    total = exact_sums(cell, score, n_cells, np.abs(value).max(initial=0) * received.most)
    shape = len(buckets), len(places)
    return total.reshape(shape), found.reshape(shape)


def _open(rules: dict[str, Any], queries: Queries, places: range) -> Any:
    """Return where a query of each rank is active: [largest rank + 1, n_places]."""
    rows = np.flatnonzero(rules["query_feature"] >= 0)
    row, place = queries.where_active(int(rules["scope"][0]), rules["query_feature"][rows])
    is_open = np.zeros((int(rules["rank"].max()) + 1, len(places)), bool)
    is_open[rules["rank"][rows[row]], place - places.start] = True
    return is_open


def _first_rules(
    feature: int, scores: Floats, met: Any, places: range, buckets: Ints, grid: Sequence[int]
) -> Iterator[Predicted]:
    """Yield the sums of the first buckets together, for each number of rules of the grid."""
    for n_rules in grid:
        n = int(np.searchsorted(buckets, n_rules, side="right"))
        place = np.flatnonzero(met[:n].any(axis=0))
        addends = scores[:n, place].reshape(-1)
        total = exact_sums(np.tile(np.arange(len(place)), n), addends, len(place))
        yield Predicted(feature, n_rules, place + places.start, total)
