"""Judging rules: example sets, predictions of every list of the first n rules, baselines, ceilings, metrics.

The judge works on the features in the temporary table `mined_features`. Everything that predicts, rules or
not, ends as the temporary table `predictions`, and from there the same statements turn it into metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.queries.arrays import Floats, Ints, arrays, matrix, run_starts
from attnrules.queries.bootstrap import FEWEST, bootstrap_weights, interval_ends
from attnrules.queries.evaluation.carried import (
    Attended,
    Predicted,
    Queries,
    Receiving,
    list_predictions,
)
from attnrules.queries.evaluation.ordering import TestRows, order_rows
from attnrules.queries.heads import head_values, key_numbers, through_heads
from attnrules.queries.heads.run import EXAMPLE_SPLIT_SALT, UNIFORM_EXAMPLES_SALT
from attnrules.queries.stated.reading import match_rules, store_readings
from attnrules.sql import Statements
from attnrules.sql.methods import METHODS, method_named, names
from attnrules.warehouse.arrow import arrow_table

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "evaluation")

EXAMPLE_SETS = ("paper", "uniform", "bins", "all_positions")
# Those whose examples are drawn beside the set `paper`, which always is.
DRAWN_SETS = ("uniform", "bins")
AGGREGATIONS = ("max", "sum", "max_of_sums", "sum_of_maxima")
# The scaling of what has none.
NO_SCALING = "none"
# Metrics that have intervals, as the temporary table `intervals` names them.
_WITH_INTERVALS = ("f1", "f1_at_threshold", "average_precision")
# Predictions judged in one set of statements: bounds memory, not results.
_PREDICTIONS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Judge:
    """How rules are judged.

    Arguments:
        example_sets: of EXAMPLE_SETS. aggregation: of AGGREGATIONS; methods that are sums ignore it.
        grid: numbers of rules, ascending. n_per_label: examples of each label in the set `paper`.
        held_out: sequences of each split judged at every position. seed: of every draw.
        mined_now: methods whose lists exist even where they found no rule.
        baselines: whether to judge baselines and ceilings too.
    """

    example_sets: tuple[str, ...]
    aggregation: str
    grid: tuple[int, ...]
    n_per_label: int
    held_out: int
    seed: int
    bos_keys: bool
    mined_now: tuple[tuple[str, str], ...] = ()
    baselines: bool = True

    def grid_of(self, example_set: str) -> list[int]:
        """Return the numbers of rules judged on a set: every fourfold step, to 1,024, on all positions."""
        if example_set != "all_positions":
            return list(self.grid)
        coarse = [n for n in self.grid if n <= 1024 and n.bit_count() == 1 and n.bit_length() % 2]
        return coarse or [self.grid[0]]


@dataclass(frozen=True)
class _Way:
    """A way to predict, numbered in `predictions`: rules of a method and scaling, a baseline or a ceiling."""

    number: int
    method: str
    scaling: str

    @property
    def has_rules(self) -> bool:
        return method_named(self.method).match_score is not None

    def aggregation(self, judge: Judge) -> str:
        """How the scores of its matches become a prediction."""
        method = method_named(self.method)
        if method.is_stated:
            return "log_odds"
        return judge.aggregation if self.has_rules and not method.is_sum else "sum"


def draw_examples(warehouse: Warehouse, at: dict[str, int], judge: Judge) -> None:
    """Draw the examples of the mined features, in place of those drawn earlier."""
    for table in ("examples", "rule_evaluations", "rule_metric_values", "rule_readings"):
        warehouse.execute(step(f"delete_{table}"), at)
    split_sequences(warehouse, judge.seed, judge.held_out)
    seq_len = warehouse.value("SELECT seq_len FROM corpus")
    warehouse.execute(step("make_feature_sequences"), at)
    salts = {"uniform_salt": UNIFORM_EXAMPLES_SALT, "split_salt": EXAMPLE_SPLIT_SALT}
    for example_set in ("paper", *(s for s in judge.example_sets if s in DRAWN_SETS)):
        warehouse.execute(
            step("make_new_examples"),
            {
                **at,
                **salts,
                "example_set": example_set,
                "n_per_label": judge.n_per_label,
                "seq_len": seq_len,
            },
        )
        warehouse.execute(step("insert_examples"))


def lists_not_judged(
    warehouse: Warehouse, at: dict[str, int], features: Sequence[int], judge: Judge
) -> list[tuple[str, int]]:
    """Return methods and how many of `features` have lists of theirs that are not judged with those of now.

    They were learnt with other draws: sequences that are held out now may be what they have learnt from.
    """
    mined_now = [" ".join(way) for way in judge.mined_now]
    asked = {**at, "features": list(features), "mined_now": mined_now}
    with warehouse.session():
        _find_other_runs(warehouse, judge)
        found: list[tuple[str, int]] = warehouse.rows(step("lists_of_other_runs"), asked)
    return found


def _find_other_runs(warehouse: Warehouse, judge: Judge) -> None:
    draws = {"seed": judge.seed, "n_per_label": judge.n_per_label, "bos_keys": judge.bos_keys}
    drawn_sets = [name for name in judge.example_sets if name in DRAWN_SETS]
    learn_nothing = [name for name, method in METHODS.items() if not method.learns]
    warehouse.execute(
        step("make_other_runs"), {**draws, "drawn_sets": drawn_sets, "learn_nothing": learn_nothing}
    )


def split_sequences(warehouse: Warehouse, seed: int, n_held_out: int) -> None:
    """Say what each sequence is used for: make the temporary tables that steps read.

    They are `sequence_splits` and `held_out_positions`, which holds `n_held_out` sequences of each part.
    """
    warehouse.execute(step("make_sequence_splits"), {"seed": seed})
    warehouse.execute(step("make_held_out_positions"), {"seed": seed, "n_sequences": n_held_out})


def evaluate(warehouse: Warehouse, layer: int, head: int, judge: Judge, *, run_id: int) -> None:
    """Judge every stored list of rules of the mined features, baselines and ceilings, on every set.

    What they predict is stored in place of what was stored of these features. Needs `draw_examples` and, for
    baselines, the temporary table `train_active`.
    """
    features = [feature for (feature,) in warehouse.rows("SELECT feature FROM mined_features")]
    with warehouse.replacing("rule_scores", layer, head, features):
        at = {"layer": layer, "head": head}
        warehouse.execute(step("delete_rule_scores"), at)
        _evaluate(warehouse, at, judge, run_id)


def _evaluate(warehouse: Warehouse, at: dict[str, int], judge: Judge, run_id: int) -> None:
    _find_other_runs(warehouse, judge)
    seq_len = int(warehouse.value("SELECT seq_len FROM corpus"))
    if judge.baselines:
        warehouse.execute(step("make_token_means"), at)
    for example_set in judge.example_sets:
        place = {**at, "example_set": example_set}
        warehouse.execute(step("make_judged"), place)
        warehouse.execute(step("make_truth"), place)
        together = _Together()
        warehouse.execute(step("make_predictions"))
        for way, predicted in _predictions(warehouse, at, judge, example_set):
            together.add(way, predicted)
            if together.n_rows >= _PREDICTIONS_AT_ONCE:
                _judge(warehouse, place, together, judge, run_id, seq_len)
                together = _Together()
                warehouse.execute(step("make_predictions"))
        if together.ways:
            _judge(warehouse, place, together, judge, run_id, seq_len)
        if example_set == "all_positions":
            store_readings(warehouse, at, seed=judge.seed, run_id=run_id)


@dataclass
class _Together:
    """Ways whose predictions are judged together.

    Arguments:
        made: by the number of a way, the predictions that are not in the temporary table `predictions`: those
            of a head of the demo are 11 million, which need not go there and back.
        n_rows: of all of them.
    """

    ways: list[_Way] = field(default_factory=list)
    made: dict[int, list[Predicted]] = field(default_factory=dict)
    n_rows: int = 0

    def add(self, way: _Way, predicted: int | Iterable[Predicted]) -> None:
        """Add a way: what it predicts, or how many rows of `predictions` it filled."""
        self.ways.append(way)
        if not isinstance(predicted, int):
            self.made[way.number] = list(predicted)
            predicted = sum(len(own.place) for own in self.made[way.number])
        self.n_rows += predicted

    def append_to(self, warehouse: Warehouse) -> None:
        """Put all of them into the temporary table."""
        lists = [(way, own) for way, of_way in self.made.items() for own in of_way]
        if lists:
            n = [len(own.place) for _, own in lists]
            columns: dict[str, Any] = {
                "way": np.repeat([way for way, _ in lists], n),
                "feature": np.repeat([own.feature for _, own in lists], n),
                "n_rules": np.repeat([own.n_rules for _, own in lists], n),
                "place": np.concatenate([own.place for _, own in lists]),
                "prediction": np.concatenate([own.prediction for _, own in lists]),
            }
            warehouse.append("predictions", arrow_table(columns))


def _judge(
    warehouse: Warehouse,
    place: Mapping[str, object],
    together: _Together,
    judge: Judge,
    run_id: int,
    seq_len: int,
) -> None:
    """Turn predictions into metrics."""
    ways, grid = together.ways, judge.grid_of(str(place["example_set"]))
    warehouse.execute(
        step("make_ways"),
        {
            "ways": [way.number for way in ways],
            "methods": [way.method for way in ways],
            "scalings": [way.scaling for way in ways],
            "aggregations": [way.aggregation(judge) for way in ways],
            "grids": [grid if way.has_rules else [0] for way in ways],
            "mined_now": [not way.has_rules or (way.method, way.scaling) in judge.mined_now for way in ways],
        },
    )
    warehouse.execute(step("make_evaluated"), {"example_set": place["example_set"]})
    rows = order_rows(warehouse, together.made)
    for name in ("make_judged_lists", "make_active_rows"):
        warehouse.execute(step(name))
    warehouse.execute(step("insert_evaluations"), {**place, "run_id": run_id})
    _store_intervals(warehouse, place, judge, seq_len, rows)
    warehouse.execute(step("insert_metrics"), place)
    if place["example_set"] != "all_positions":
        together.append_to(warehouse)
        warehouse.execute(step("insert_rule_scores"), place)


def _store_intervals(
    warehouse: Warehouse, place: Mapping[str, object], judge: Judge, seq_len: int, rows: list[TestRows]
) -> None:
    """Fill the temporary table `intervals` for the lists whose rows on test are given."""
    warehouse.execute(step("make_intervals"))
    if not rows:
        return
    seq_id = arrays(warehouse, step("judged_places"))["seq_id"]
    threshold = arrays(warehouse, step("list_thresholds"), place)["threshold"]
    everywhere = place["example_set"] == "all_positions"
    if everywhere:
        sequences = np.array([s for (s,) in warehouse.rows(step("held_out_test_sequences"))])
    else:
        sequences = np.unique(seq_id)
    weights = bootstrap_weights(sequences, judge.seed)
    sequence_of = np.searchsorted(sequences, seq_id)
    replicates = []
    for own in rows:
        # Of all positions, those of sequences without a row count too.
        sequence = sequence_of[own.place]
        drawn, sequence = (weights, sequence) if everywhere else _compressed(weights, sequence)
        n_each = seq_len - 1 if everywhere else None
        of_list = (own.prediction, own.is_active, sequence, drawn, float(threshold[own.list]), n_each)
        replicates.append(metric_replicates(*of_list))
    ends = np.ma.masked_invalid(interval_ends(np.concatenate(replicates)).reshape(len(rows), -1))
    names = [f"{name}_{end}" for name in _WITH_INTERVALS for end in ("low", "high")]
    columns = dict(zip(names, ends.T, strict=True))
    warehouse.append("intervals", arrow_table({"list": np.array([own.list for own in rows]), **columns}))


def metric_replicates(
    prediction: Floats, active: Ints, sequence: Ints, weights: Floats, threshold: float, n_each: int | None
) -> Floats:
    """Return F1 at 0, F1 at `threshold` and average precision of every replicate: [3, n_replicates].

    A replicate without an active position says nothing about how well active ones are found: it is NaN. All
    are where fewer than `FEWEST` sequences have one, since resamples of so few are nearly alike.

    Arguments:
        prediction, active: [n], predictions descending. sequence: [n], row of `weights` of each.
        weights: [n_sequences, n_replicates], how often each sequence is drawn.
        n_each: positions per sequence, where those predicted 0 and inactive are no rows; else None.
    """
    n_sequences = len(weights)

    def drawn(of_rows: Ints) -> Floats:
        return np.bincount(of_rows, minlength=n_sequences) @ weights

    found = np.flatnonzero(active)
    missing = 0.0 if n_each is None else n_each * weights.sum(axis=0) - drawn(sequence)
    n_active = drawn(sequence[found])
    values = np.full((len(_WITH_INTERVALS), weights.shape[1]), np.nan)
    for row, least in enumerate((0.0, threshold)):
        n_chosen = int(np.searchsorted(-prediction, -least))
        n_predicted = drawn(sequence[:n_chosen]) + (missing if least < 0 else 0.0)
        n_hits = drawn(sequence[found[: np.searchsorted(found, n_chosen)]])
        if not np.isnan(least):
            values[row] = 2 * n_hits / np.maximum(n_predicted + n_active, 1)
    gained = _average_precision_parts(prediction, found, sequence, weights, missing)
    values[2] = gained / np.maximum(n_active, 1)
    values[:, n_active == 0] = np.nan
    if len(np.unique(sequence[found])) < FEWEST:
        values[:] = np.nan
    return values


def _average_precision_parts(
    prediction: Floats, found: Ints, sequence: Ints, weights: Floats, missing: Floats | float
) -> Floats:
    """Return the sum over active rows of the precision at their prediction, for each replicate.

    It changes at predictions of active rows alone: rows are counted by level and sequence, a level being what
    is predicted more than the next such prediction and at most this one. Counts are whole numbers, which add
    up exactly in any order.

    Arguments:
        found: the active rows. missing: [n_replicates], positions predicted 0 that are no rows.
    """
    of_found = prediction[found]
    first = run_starts(of_found)
    levels = of_found[first]
    n_rows = np.searchsorted(-prediction, -levels, side="right")
    n_levels, n_sequences = len(levels), len(weights)
    level = np.repeat(np.arange(n_levels), np.diff(n_rows, prepend=0))
    cell = level * n_sequences + sequence[: len(level)]
    n_in_cell = np.bincount(cell, minlength=n_levels * n_sequences).reshape(n_levels, n_sequences)
    n_at_least = n_in_cell.cumsum(axis=0) @ weights
    n_at_least[np.searchsorted(-levels, 0) :] += missing
    # Few active rows share a level: their weights are added up sooner than multiplied.
    gained = weights[sequence[found]]
    if n_levels < len(found):
        gained = np.add.reduceat(gained, first, axis=0)
    precision = gained.cumsum(axis=0)
    precision /= np.maximum(n_at_least, 1, out=n_at_least)
    parts: Floats = np.multiply(gained, precision, out=precision).sum(axis=0)
    return parts


def _compressed(weights: Floats, place: Ints) -> tuple[Floats, Ints]:
    """Return the rows of `weights` that are in use, and the place of each among them."""
    used, sequence = np.unique(place, return_inverse=True)
    return weights[used], sequence


def _grids(warehouse: Warehouse, judge: Judge, example_set: str) -> dict[tuple[str, str], list[int]]:
    """Return the numbers of rules judged of each method and scaling that has lists, in their order.

    On all positions a list that is no longer than another is not judged (make_evaluated).
    """
    grid = judge.grid_of(example_set)
    longest = dict.fromkeys(judge.mined_now, grid[0])
    longest |= {(method, scaling): n for method, scaling, n in warehouse.rows(step("list_lengths"))}
    everywhere = example_set == "all_positions"
    return {
        (method, scaling): [n for n in grid if n <= longest[method, scaling] or not everywhere]
        for method, scaling in sorted(longest)
        if judge.baselines or method_named(method).kind == "rules"
    }


def _predictions(
    warehouse: Warehouse, at: dict[str, int], judge: Judge, example_set: str
) -> Iterator[tuple[_Way, int | Iterable[Predicted]]]:
    """Yield one way to predict after another and what it predicts.

    Of one whose predictions are added to the temporary table `predictions`, how many there are.
    """
    grid = judge.grid_of(example_set)
    place = {**at, "example_set": example_set}
    warehouse.execute(step("make_lists"), {**place, "grid": grid, "seed": judge.seed})
    lists = _grids(warehouse, judge, example_set)
    number = count()
    yield from _stated(warehouse, at, example_set, lists, number)
    matched = [(m, s) for m, s in lists if not (method_named(m).is_sum or method_named(m).is_stated)]
    for scaling in dict.fromkeys(scaling for _, scaling in matched):
        of_scaling = [m for m, s in matched if s == scaling]
        scaled = {"layer": at["layer"], "scaling": scaling}
        warehouse.execute(step("make_scaled_activations"), scaled)
        warehouse.execute(step("make_query_side"))
        fast = judge.aggregation == "max"
        if fast:
            warehouse.execute(step("make_key_side"), {"bos_keys": judge.bos_keys})
        for method in of_scaling:
            way = _Way(next(number), method, scaling)
            named = {"method": method, "scaling": scaling, "match_score": method_named(method).match_score}
            if fast:
                warehouse.execute(step("make_bucket_maxima"), named)
            else:
                slow = {"bos_keys": judge.bos_keys, "aggregation": judge.aggregation}
                warehouse.execute(step("make_bucket_scores_by_key"), {**named, **slow})
            made = {"way": way.number, "aggregation": way.aggregation(judge), "grid": lists[method, scaling]}
            yield way, warehouse.execute(step("insert_rule_predictions"), made)
    additive = {at: grid for at, grid in lists.items() if method_named(at[0]).is_sum}
    if additive or judge.baselines:
        yield from _from_attention(warehouse, at, judge, additive, example_set, number)


def _from_attention(
    warehouse: Warehouse,
    at: dict[str, int],
    judge: Judge,
    lists: Mapping[tuple[str, str], list[int]],
    example_set: str,
    number: Iterator[int],
) -> Iterator[tuple[_Way, int | Iterable[Predicted]]]:
    """Do the same for `lists`, whose predictions are sums, and for baselines and ceilings."""
    warehouse.execute(step("make_scaled_activations"), {"layer": at["layer"], "scaling": "features"})
    sums = _Sums(warehouse, at, [method for method, _ in lists])
    ceilings = _Ceilings(warehouse, at, everywhere=example_set == "all_positions")
    # What attention of one head carries is in memory at a time.
    for head in sums.through:
        warehouse.execute(step("make_attended"), {"layer": at["layer"], "head": head})
        attended = Attended.read(warehouse)
        if lists:
            sums.receiving.add(attended, bos_keys=judge.bos_keys)
        if judge.baselines:
            ceilings.add(attended, head)
    for (method, scaling), predicted in sums.predictions(lists):
        yield _Way(next(number), method, scaling), predicted
    if judge.baselines:
        yield from _baselines(warehouse, example_set, number)
        for name, predicted in ceilings.predictions():
            yield _Way(next(number), name, NO_SCALING), predicted


class _Sums:
    """Predictions that are sums over the keys of lists, of all heads that the output SAE reads.

    Arguments:
        methods: those whose lists are judged.
    """

    def __init__(self, warehouse: Warehouse, at: dict[str, int], methods: list[str]) -> None:
        self._warehouse = warehouse
        self.through = through_heads(warehouse, at["layer"], at["head"])
        of_head = {"layer": at["layer"], "head": self.through[0]}
        self._n_inputs = int(warehouse.value(step("n_inputs"), of_head))
        keys = arrays(warehouse, step("list_keys"), {"methods": methods})
        scope_of = arrays(warehouse, step("judged_places"))["scope"]
        self.receiving = Receiving(
            scope_of, keys["scope"], self._numbers(keys), self._n_inputs, len(self.through)
        )

    def _numbers(self, columns: Mapping[str, Ints]) -> Ints:
        return key_numbers(self.through, self._n_inputs, columns["through_head"], columns["key_feature"])

    def predictions(
        self, lists: Mapping[tuple[str, str], list[int]]
    ) -> Iterator[tuple[tuple[str, str], Iterator[Predicted]]]:
        """Yield each method, with its scaling and its predictions; `lists` says of how many rules."""
        if not lists:
            return
        self._warehouse.execute(step("make_query_side"))
        received = self.receiving.received()
        queries = Queries.read(self._warehouse, self._n_inputs)
        for method, scaling in lists:
            rules = arrays(self._warehouse, step("list_rules"), {"method": method, "scaling": scaling})
            numbered = {**rules, "key": self._numbers(rules)}
            yield (method, scaling), list_predictions(numbered, received, queries, lists[method, scaling])


def _stated(
    warehouse: Warehouse,
    at: dict[str, int],
    example_set: str,
    lists: Mapping[tuple[str, str], list[int]],
    number: Iterator[int],
) -> Iterator[tuple[_Way, int]]:
    """Do the same for stated rules, and find where the first rules of other methods hold as they are read."""
    stated = [way for way in lists if method_named(way[0]).is_stated]
    if stated or example_set == "all_positions":
        match_rules(warehouse, at, example_set)
    for method, scaling in stated:
        way = _Way(next(number), method, scaling)
        made = {"way": way.number, "method": method, "grid": lists[method, scaling]}
        yield way, warehouse.execute(step("insert_stated_predictions"), made)


def _baselines(warehouse: Warehouse, example_set: str, number: Iterator[int]) -> Iterator[tuple[_Way, int]]:
    way = _Way(next(number), "always_active", NO_SCALING)
    here = {"example_set": example_set}
    yield way, warehouse.execute(step("insert_constant_predictions"), {**here, "way": way.number})
    for n_tokens, name in ((1, "current_token"), (2, "last_two_tokens")):
        way = _Way(next(number), name, NO_SCALING)
        of_tokens = {**here, "way": way.number, "n_tokens": n_tokens}
        yield way, warehouse.execute(step("insert_token_predictions"), of_tokens)


class _Ceilings:
    """The ceilings: pre-activations of the output of each head rebuilt from all input features, and summed.

    z_q = sum over k of A[q,k] (((sum over i of a[k,i] d_i) + b_dec) W_V / sigma_k + b_V), every key, BOS too.

    Arguments:
        everywhere: whether every feature is judged at every place, not at those of its own examples.
    """

    def __init__(self, warehouse: Warehouse, at: dict[str, int], *, everywhere: bool) -> None:
        self._warehouse, self._at, self._everywhere = warehouse, at, everywhere
        rows = warehouse.rows("SELECT feature FROM mined_features ORDER BY 1")
        self._features = np.array([feature for (feature,) in rows])
        self._totals: list[Floats] = []
        self._scales: dict[str, Any] = {}

    def add(self, attended: Attended, head: int) -> None:
        """Add what a head brings; the temporary table `attended` holds its sources."""
        at_head = {"layer": self._at["layer"], "head": head}
        constants = self._warehouse.sql(step("value_biases"), at_head).to_arrow_table()
        decoder_bias, b_v = (matrix(constants.column(name))[0] for name in ("decoder_bias_value", "b_V"))
        values, encoders = head_values(self._warehouse, self._at, head)
        encoders = encoders[self._features]
        scales = arrays(self._warehouse, step("attended_scales"), {"layer": self._at["layer"]})
        self._scales = {name: scales[name] for name in ("place", "scope")}
        brought = []
        carried = _carried_values(attended, values, len(scales["place"]))
        for kind, z in zip(("from_features", "by_model"), carried, strict=True):
            z += scales[f"scaled_{kind}"][:, None] * decoder_bias + scales[f"weight_{kind}"][:, None] * b_v
            if self._everywhere:
                brought.append(z @ encoders.T)
            else:
                own = encoders[np.searchsorted(self._features, scales["scope"])]
                brought.append(np.einsum("nd,nd->n", z, own))
        if self._totals:
            for total, more in zip(self._totals, brought, strict=True):
                total += more
        else:
            self._totals = brought

    def predictions(self) -> Iterator[tuple[str, Iterator[Predicted]]]:
        """Yield the ceilings with the attention from features and with the model's own."""
        bias = arrays(self._warehouse, step("preactivation_biases"), self._at)["preactivation_bias"]
        place, scope = self._scales["place"], self._scales["scope"]
        for name, total in zip(names("ceiling"), self._totals, strict=True):
            yield name, self._of_features(place, scope, total, bias)

    def _of_features(self, place: Ints, scope: Ints, total: Floats, bias: Floats) -> Iterator[Predicted]:
        ends = np.searchsorted(scope, self._features), np.searchsorted(scope, self._features, side="right")
        for column, (feature, first, last) in enumerate(zip(self._features.tolist(), *ends, strict=True)):
            if self._everywhere:
                yield Predicted(feature, 0, place, total[:, column] + bias[feature])
            else:
                yield Predicted(feature, 0, place[first:last], total[first:last] + bias[feature])


def _carried_values(attended: Attended, values: Floats, n_places: int) -> list[Floats]:
    """Return what attention carries to each judged place, [n_places, d_head]: from features, by the model.

    The sum over tokens of A[q,k] times the sum over features of a[k,i] d_i W_V / sigma_k.
    """
    active = attended.active
    token = np.repeat(np.arange(len(active.n)), active.n)
    of_token = _sums_of_rows(
        values, active.values["feature"], active.values["activation"], token, len(active.n)
    )
    # A token without an active feature has only its share of the biases.
    known = np.flatnonzero(active.n[attended.token])
    place = attended.place[known]
    return [
        _sums_of_rows(of_token, attended.token[known], weights[known], place, n_places)
        for weights in attended.weights.values()
    ]


def _sums_of_rows(matrix: Floats, rows: Ints, weights: Floats, owners: Ints, n_owners: int) -> Floats:
    """Return for each owner the sum of weights times rows of `matrix`; `owners` ascend.

    One column after another: each stays in cache, and is a fourth of the time of whole rows.
    """
    sums = np.zeros((n_owners, matrix.shape[1]))
    if not len(rows):
        return sums
    first = run_starts(owners)
    weighted = np.empty(len(rows))
    for place, column in enumerate(np.ascontiguousarray(matrix.T)):
        np.multiply(column[rows], weights, out=weighted)
        sums[owners[first], place] = np.add.reduceat(weighted, first)
    return sums
