"""Judging rules: example sets, predictions of every list of the first n rules, baselines, ceilings, metrics.

The judge works on the features in the temporary table `mined_features`. Everything that predicts, rules or
not, ends as the temporary table `predictions`, and from there the same statements turn it into metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from attnrules.queries import step
from attnrules.queries.scores import Floats, HeadScores, Ints, head_scores, matrix

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

EXAMPLE_SETS = ("paper", "uniform", "bins", "all_positions")
AGGREGATIONS = ("max", "sum", "max_of_sums", "sum_of_maxima")
BASELINES = ("always_active", "current_token", "last_two_tokens", "key_anywhere", "random")
CEILINGS = ("ceiling_from_features", "ceiling_model_attention")
ADDITIVE = ("weighted", "weighted_signed", "weighted_groups", "weighted_gates", "weighted_pairs")
_REPLICATES = 200
# The scaling of what has none.
NO_SCALING = "none"
# Rows of `received` turned into head outputs at once: with d_head 64, 256 MB.
_ROWS_AT_ONCE = 1 << 19


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


def draw_examples(warehouse: Warehouse, at: dict[str, object], judge: Judge) -> None:
    """Draw the examples of the mined features, in place of those drawn earlier."""
    for table in ("examples", "rule_evaluations", "rule_scores", "rule_metric_values"):
        warehouse.execute(step(f"delete_{table}"), at)
    seq_len = warehouse.value("SELECT seq_len FROM corpus")
    warehouse.execute(step("make_feature_sequences"), at)
    for example_set in ("paper", *(s for s in judge.example_sets if s in ("uniform", "bins"))):
        warehouse.execute(
            step("make_new_examples"),
            {**at, "example_set": example_set, "n_per_label": judge.n_per_label, "seq_len": seq_len},
        )
        warehouse.execute(step("insert_examples"))
    warehouse.execute(step("make_held_out_positions"), {"seed": judge.seed, "n_sequences": judge.held_out})


def evaluate(warehouse: Warehouse, layer: int, head: int, judge: Judge, *, run_id: int) -> None:
    """Judge every stored list of rules of the mined features, baselines and ceilings, on every set.

    Needs `draw_examples` and, for baselines, the temporary table `train_active`.
    """
    at: dict[str, object] = {"layer": layer, "head": head}
    seq_len = int(warehouse.value("SELECT seq_len FROM corpus"))
    for example_set in judge.example_sets:
        place = {**at, "example_set": example_set}
        warehouse.execute(step("make_truth"), place)
        grid = judge.grid_of(example_set)
        for method, scaling in _predictions(warehouse, at, judge, example_set):
            rules = method not in CEILINGS and (method not in BASELINES or scaling != NO_SCALING)
            named = {**place, "method": method, "scaling": scaling}
            warehouse.execute(
                step("make_evaluated"),
                {
                    "method": method,
                    "scaling": scaling,
                    "grid": grid if rules else [0],
                    "mined_now": not rules or (method, scaling) in judge.mined_now,
                    "example_set": example_set,
                },
            )
            warehouse.execute(step("make_judged_rows"), {"example_set": example_set})
            warehouse.execute(step("make_levels"))
            warehouse.execute(step("make_judgements"))
            aggregation = judge.aggregation if rules and method not in ADDITIVE else "sum"
            fitted = {**named, "aggregation": aggregation}
            warehouse.execute(step("insert_evaluations"), {**fitted, "run_id": run_id})
            _store_intervals(warehouse, named, judge, seq_len)
            warehouse.execute(step("insert_metrics"), fitted)
            if example_set != "all_positions":
                warehouse.execute(step("insert_rule_scores"), named)


def _store_intervals(warehouse: Warehouse, named: dict[str, object], judge: Judge, seq_len: int) -> None:
    """Fill the temporary table `intervals` for the lists in `judged_rows`."""
    warehouse.execute(step("make_intervals"))
    rows = warehouse.sql(step("test_rows"), named).to_arrow_table()
    if not rows.num_rows:
        return
    feature, n_rules, seq_id, prediction, active, threshold = (
        rows.column(name).to_numpy() for name in rows.column_names
    )
    everywhere = named["example_set"] == "all_positions"
    if everywhere:
        sequences = np.array([s for (s,) in warehouse.rows(step("held_out_test_sequences"))])
    else:
        sequences = np.unique(seq_id)
    weights = bootstrap_weights(len(sequences), judge.seed)
    place = np.searchsorted(sequences, seq_id)
    starts = np.flatnonzero(np.r_[True, (feature[1:] != feature[:-1]) | (n_rules[1:] != n_rules[:-1])])
    ends = np.r_[starts[1:], len(feature)]
    total = weights.sum(axis=0) * (seq_len - 1) if everywhere else None
    found = [
        metric_intervals(
            prediction[a:b], active[a:b], weights[place[a:b]], float(threshold[a] or np.nan), total
        )
        for a, b in zip(starts, ends, strict=True)
    ]
    names = ("f1", "f1_at_threshold", "average_precision")
    columns = {
        f"{name}_{end}": pa.array([f[i][j] for f in found], pa.float64(), from_pandas=True)
        for i, name in enumerate(names)
        for j, end in enumerate(("low", "high"))
    }
    warehouse.append(
        "intervals", pa.table({"feature": feature[starts], "n_rules": n_rules[starts], **columns})
    )


def bootstrap_weights(n_sequences: int, seed: int) -> Floats:
    """Return how often each sequence is drawn, Poisson of mean 1: [n_sequences, n_replicates]."""
    return np.random.default_rng(seed).poisson(1, (n_sequences, _REPLICATES)).astype(np.float64)


def metric_intervals(
    prediction: Floats, active: Ints, weights: Floats, threshold: float, total: Floats | None
) -> list[tuple[float, float]]:
    """Return the 95% bootstrap intervals of F1 at 0, F1 at `threshold` and average precision.

    Arguments:
        prediction, active: [n], predictions descending. weights: [n, n_replicates], of each row's sequence.
        total: [n_replicates], weight of all positions, where those predicted 0 and inactive are no rows.
    """
    hits = weights * active[:, None]
    n_active = hits.sum(axis=0)
    found = []
    for least in (0.0, threshold):
        chosen = prediction > least
        n_predicted = weights[chosen].sum(axis=0)
        if total is not None and least < 0:
            n_predicted = n_predicted + total - weights.sum(axis=0)
        found.append(2 * hits[chosen].sum(axis=0) / np.maximum(n_predicted + n_active, 1))
    last = np.flatnonzero(np.r_[prediction[1:] != prediction[:-1], True])
    n_at_least = weights.cumsum(axis=0)[last]
    if total is not None:
        n_at_least[prediction[last] <= 0] += total - weights.sum(axis=0)
    hits_at_least = hits.cumsum(axis=0)[last]
    gained = np.diff(hits_at_least, axis=0, prepend=0)
    share = hits_at_least / np.maximum(n_at_least, 1)
    found.append((gained * share).sum(axis=0) / np.maximum(n_active, 1))
    # A replicate without an active position says nothing about how well active ones are found.
    usable = n_active > 0
    if not usable.any():
        return [(np.nan, np.nan)] * len(found)
    ends = [np.quantile(values[usable], (0.025, 0.975)) for values in found]
    if np.isnan(threshold):
        ends[1] = np.array([np.nan, np.nan])
    return [(float(low), float(high)) for low, high in ends]


def _predictions(
    warehouse: Warehouse, at: dict[str, object], judge: Judge, example_set: str
) -> Iterator[tuple[str, str]]:
    """Make the temporary table `predictions` for one way to predict after another, and yield its name."""
    grid = judge.grid_of(example_set)
    place = {**at, "example_set": example_set}
    warehouse.execute(step("make_judged"), place)
    warehouse.execute(step("make_lists"), {**place, "grid": grid, "seed": judge.seed})
    lists = warehouse.rows(step("list_names"))
    if not judge.baselines:
        lists = [(method, scaling) for method, scaling in lists if method not in BASELINES]
    for scaling in dict.fromkeys(scaling for method, scaling in lists if method not in ADDITIVE):
        of_scaling = [m for m, s in lists if s == scaling and m not in ADDITIVE]
        warehouse.execute(step("make_scaled_activations"), {"layer": at["layer"], "scaling": scaling})
        warehouse.execute(step("make_query_side"))
        fast = judge.aggregation == "max"
        if fast:
            warehouse.execute(step("make_key_side"), {"bos_keys": judge.bos_keys})
        for method in of_scaling:
            named = {"method": method, "scaling": scaling}
            if fast:
                warehouse.execute(step("make_bucket_maxima"), named)
            else:
                slow = {"bos_keys": judge.bos_keys, "aggregation": judge.aggregation}
                warehouse.execute(step("make_bucket_scores_by_key"), {**named, **slow})
            warehouse.execute(step("make_predictions"), {"aggregation": judge.aggregation, "grid": grid})
            yield method, scaling
    additive = [(method, scaling) for method, scaling in lists if method in ADDITIVE]
    if additive or judge.baselines:
        warehouse.execute(step("make_scaled_activations"), {"layer": at["layer"], "scaling": "features"})
        warehouse.execute(step("make_received"), {**at, "bos_keys": judge.bos_keys})
        warehouse.execute(step("make_query_side"))
    for method, scaling in additive:
        made = "make_bucket_gates" if method == "weighted_gates" else "make_bucket_weights"
        warehouse.execute(step(made), {"method": method, "scaling": scaling})
        warehouse.execute(step("make_predictions"), {"aggregation": "sum", "grid": grid})
        yield method, scaling
    if judge.baselines:
        yield from _baselines(warehouse, at, judge, example_set)


def _baselines(
    warehouse: Warehouse, at: dict[str, object], judge: Judge, example_set: str
) -> Iterator[tuple[str, str]]:
    place = {**at, "example_set": example_set}
    warehouse.execute(step("make_constant_predictions"), {"example_set": example_set})
    yield "always_active", NO_SCALING
    for n_tokens, name in ((1, "current_token"), (2, "last_two_tokens")):
        drawn = {**place, "n_tokens": n_tokens, "seed": judge.seed}
        warehouse.execute(step("make_token_predictions"), drawn)
        yield name, NO_SCALING
    for name, table in _ceilings(warehouse, at, everywhere=example_set == "all_positions"):
        warehouse.execute(step("make_empty_predictions"))
        warehouse.append("predictions", table)
        yield name, NO_SCALING


def _ceilings(
    warehouse: Warehouse, at: dict[str, object], *, everywhere: bool
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the ceilings: pre-activations of the head output rebuilt from all input features.

    z_q = sum over k of A[q,k] (((sum over i of a[k,i] d_i) + b_dec) W_V / sigma_k + b_V), every key, BOS too.
    """
    scores = head_scores(warehouse, int(str(at["layer"])), int(str(at["head"])), "paper")
    bias = warehouse.sql(step("preactivation_biases"), at).to_arrow_table().column(0).to_numpy()
    constants = warehouse.sql(step("value_biases"), at).to_arrow_table()
    decoder_bias, b_v = (matrix(constants.column(name))[0] for name in ("decoder_bias_value", "b_V"))
    features = np.array([f for (f,) in warehouse.rows("SELECT feature FROM mined_features ORDER BY 1")])
    places = warehouse.sql(step("attended_scales"), at).to_arrow_table()
    scope, seq_id, pos = (places.column(name).to_numpy() for name in ("scope", "seq_id", "pos"))
    rows = warehouse.sql(step("received_rows")).to_arrow_table()
    where = _positions_of(rows, (scope, seq_id, pos))
    keys = rows.column("key_feature").to_numpy()
    for name, kind in zip(CEILINGS, ("from_features", "by_model"), strict=True):
        amounts = rows.column(f"amount_{kind}").to_numpy()
        z = _weighted_sums(scores, keys, amounts, where, len(scope))
        z += places.column(f"scaled_{kind}").to_numpy()[:, None] * decoder_bias
        z += places.column(f"weight_{kind}").to_numpy()[:, None] * b_v
        if everywhere:
            prediction = z @ scores.encoders[features].T + bias[features]
            n = len(features)
            columns = {
                "feature": np.tile(features, len(scope)),
                "seq_id": np.repeat(seq_id, n),
                "pos": np.repeat(pos, n),
                "prediction": prediction.reshape(-1),
            }
        else:
            prediction = np.einsum("nd,nd->n", z, scores.encoders[scope]) + bias[scope]
            columns = {"feature": scope, "seq_id": seq_id, "pos": pos, "prediction": prediction}
        yield name, pa.table({**columns, "n_rules": np.zeros(len(columns["feature"]), np.uint32)})


def _positions_of(rows: pa.Table, places: tuple[Ints, ...]) -> Ints:
    """Return for each row of `received` its place among the judged positions; both are in the same order."""
    names = ("scope", "seq_id", "pos")
    columns = [rows.column(name).to_numpy() for name in names]
    is_new = np.zeros(len(columns[0]), bool)
    is_new[:1] = True
    for column in columns:
        is_new[1:] |= column[1:] != column[:-1]
    # A judged position that no input feature reaches has no row: number the places that have one.
    starts = np.flatnonzero(is_new)
    key_of = {key: place for place, key in enumerate(zip(*(p.tolist() for p in places), strict=True))}
    place_of_start = np.array(
        [key_of[key] for key in zip(*(column[starts].tolist() for column in columns), strict=True)], np.int64
    )
    return np.asarray(place_of_start[np.cumsum(is_new) - 1])


def _weighted_sums(scores: HeadScores, keys: Ints, amounts: Floats, where: Ints, n_places: int) -> Floats:
    """Return the sum of amounts times value vectors at each place: [n_places, d_head]."""
    sums = np.zeros((n_places, scores.values.shape[1]))
    for start in range(0, len(keys), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        weighted = scores.values[keys[block]] * amounts[block, None]
        first = np.flatnonzero(np.r_[True, where[block][1:] != where[block][:-1]])
        sums[where[block][first]] += np.add.reduceat(weighted, first, axis=0)
    return sums
