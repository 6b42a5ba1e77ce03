"""Counting rules "f iff there are more [i] than [i2] before [j]" (method.md section 7), from the corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.queries.absence import Distractors, find_distractors
from attnrules.queries.arrays import Floats, Ints, arrays
from attnrules.queries.evaluation import FEWEST, SequenceBootstrap, interval
from attnrules.queries.heads import HeadRun, Mining, Run, Spec, head_scores, live_features
from attnrules.sql import Statements

if TYPE_CHECKING:
    import pyarrow as pa

    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "counting")
# Features whose query positions are held at once; bounds memory, not the result.
_FEATURES_AT_ONCE = 128
# Weights of c and c2 go up to this, thresholds on a weighted difference too.
_LARGEST_WEIGHT = 4
_LARGEST_THRESHOLD = 4
# Thresholds on the number of keys alone go up to this.
_LARGEST_COUNT = 16
# What a rule is compared with: the column of its gain, and how those of the interval begin.
_GAINS = {"presence_": ("information_gain", "gain"), "position_": ("position_gain", "position_gain")}


@dataclass(frozen=True)
class CountingSpec(Spec):
    """How to mine counting rules.

    Arguments:
        pairs: (key, query) pairs per feature, as in `AbsenceSpec`.
        min_support: train positions with the query, the key before it, and the output feature active; and
            as many with two keys or more. Pairs with fewer are not worth it.
        bos_keys: as in `AbsenceSpec`.
    """

    pairs: int = 1
    min_support: int = 20
    bos_keys: bool = False


@dataclass(frozen=True)
class CountingHead:
    """What was mined from one head.

    Arguments:
        n_features, n_pairs: looked at. n_counted: pairs worth counting. n_beat_presence: rules that tell more
            than presence on held-out sequences. n_rules: of these, the rules kept, which tell more than the
            position in the sequence too.
    """

    layer: int
    head: int
    n_features: int
    n_pairs: int
    n_counted: int
    n_beat_presence: int
    n_rules: int


@dataclass(frozen=True)
class CountingResult:
    """What was mined, head by head."""

    heads: list[CountingHead] = field(default_factory=list)


@dataclass(frozen=True)
class Candidate:
    """A rule chosen on train: key_weight * c - opponent_weight * c2 >= threshold.

    Arguments:
        without_opponent: whether the presence rule to beat is "key without opponent", not "key" alone.
    """

    key_weight: int
    opponent_weight: int
    threshold: int
    without_opponent: bool


@dataclass(frozen=True)
class PositionRule:
    """A rule chosen on train that looks at the position in the sequence alone.

    Arguments:
        from_threshold: whether it says active at `threshold` and after, not at `threshold` and before.
    """

    threshold: int
    from_threshold: bool


def mine_counting(
    warehouse: Warehouse,
    spec: CountingSpec,
    report: Callable[[str], None] = lambda _: None,
) -> CountingResult:
    """Count keys and opponents, and keep the rules that beat presence and position.

    Each head is a transaction. Earlier rows of the same features and scaling are replaced, together with the
    interventions that tested them. Raises `AttnRulesError` when the ingest is unfinished, `UsageError` for a
    head or feature that is not in the warehouse.
    """
    return plan_counting(warehouse, spec).all_heads(report)


def plan_counting(
    warehouse: Warehouse, spec: CountingSpec
) -> Mining[CountingSpec, CountingHead, CountingResult]:
    """Return what `mine_counting` is about to do; raises what it raises before the first head is mined."""
    spec.refuse_out_of_bounds("pairs", "min_support")
    run = Run.as_asked(warehouse, "mine counting", spec)
    run.refuse_unknown_rotation()
    bootstrap = SequenceBootstrap(spec.seed)
    return Mining(run, partial(_mine_head, bootstrap=bootstrap), CountingHead, CountingResult)


def _mine_head(here: HeadRun[CountingSpec], bootstrap: SequenceBootstrap) -> CountingHead:
    warehouse, spec, at, features = here.warehouse, here.spec, here.at, here.features
    candidates = live_features(warehouse, here.layer, bos_keys=spec.bos_keys)
    scores = head_scores(warehouse, here.layer, here.head, spec.scaling, here.through, bos_keys=spec.bos_keys)
    found = find_distractors(scores, features, pairs=spec.pairs, candidates=candidates)
    of_features = {**at, "scaling": spec.scaling, "features": features.tolist()}
    for table in ("counting_counts", "counting_rules"):
        warehouse.execute(step(f"delete_{table}"), of_features)
    for table in ("counting_tests", "interventions"):
        warehouse.execute(step(f"delete_{table}"), {**of_features, "through": None})
    warehouse.execute(step("make_counting_splits"), {"seed": spec.seed})
    same = {**at, "scaling": spec.scaling, "run_id": here.run_id}
    n_counted = n_beat_presence = n_rules = 0
    for start in range(0, len(features), _FEATURES_AT_ONCE):
        # A key that pushes nothing up is no key.
        rows = np.isin(found.feature, features[start : start + _FEATURES_AT_ONCE]) & (found.value > 0)
        counted, judged = _mine_batch(here, found, rows, bootstrap)
        # Who fires late in the row is no counter, though counts grow with the position.
        new_rules = [row for row in judged if beats(row, "position_")]
        n_counted += len({(row["feature"], row["pair"]) for row in counted})
        n_beat_presence += len(judged)
        n_rules += len(new_rules)
        for table, new in (("counting_counts", counted), ("counting_rules", new_rules)):
            if new:
                warehouse.append(table, _table(new, same))
    return CountingHead(
        **at,
        n_features=len(features),
        n_pairs=len(found.feature),
        n_counted=n_counted,
        n_beat_presence=n_beat_presence,
        n_rules=n_rules,
    )


def _table(rows: list[dict[str, Any]], same: dict[str, object]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([{**row, **same} for row in rows])


def _mine_batch(
    here: HeadRun[CountingSpec], found: Distractors, rows: Any, bootstrap: SequenceBootstrap
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rows of `counting_counts` of a batch of pairs, and of `counting_rules` that beat presence."""
    warehouse, spec = here.warehouse, here.spec
    opponents = [int(i) if i >= 0 else None for i in found.distractor[rows]]
    warehouse.execute(
        step("make_count_positions"),
        {
            **here.at,
            "features": found.feature[rows].tolist(),
            "pairs": found.pair[rows].tolist(),
            "keys": found.key[rows].tolist(),
            "queries": found.query[rows].tolist(),
            "opponents": opponents,
            "bos_keys": spec.bos_keys,
        },
    )
    names = ("feature", "pair", "split", "n_key", "n_opponent", "n_positions", "n_active", "mean_activation")
    tables: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in warehouse.rows(step("counts")):
        tables.setdefault(row[:2], []).append(dict(zip(names, row, strict=True)))
    counted = {case: table for case, table in tables.items() if worth_counting(table, spec.min_support)}
    chosen = {}
    for case, table in counted.items():
        candidate = choose(table)
        if candidate is not None:
            chosen[case] = candidate
    pairs = {
        (int(feature), int(pair)): {
            "through_head": int(head),
            "key_feature": int(i),
            "query_feature": int(j),
            "opponent_feature": i2,
        }
        for feature, pair, head, i, j, i2 in zip(
            found.feature[rows],
            found.pair[rows],
            found.through_head[rows],
            found.key[rows],
            found.query[rows],
            opponents,
            strict=True,
        )
    }
    rules = []
    for case, judged in _judge(warehouse, chosen, bootstrap).items():
        rules.append({"feature": case[0], "pair": case[1], **pairs[case], **judged})
    return [row for table in counted.values() for row in table], rules


def worth_counting(table: list[dict[str, Any]], min_support: int) -> bool:
    """Tell whether a pair's counts can show anything: see `CountingSpec.min_support`."""
    train = [row for row in table if row["split"] == "train"]
    active: int = sum(row["n_active"] for row in train if row["n_key"])
    repeated: int = sum(row["n_positions"] for row in train if row["n_key"] > 1)
    return active >= min_support and repeated >= min_support


def candidate_rules(with_opponent: bool) -> list[tuple[int, int, int]]:
    """Return (key weight, opponent weight, threshold) of the rules that are tried, the simplest first."""
    by_count = [(1, 0, threshold) for threshold in range(2, _LARGEST_COUNT + 1)]
    weights = range(1, _LARGEST_WEIGHT + 1)
    by_difference = [
        (p, m, threshold)
        for p in weights
        for m in weights
        if gcd(p, m) == 1
        for threshold in range(1, _LARGEST_THRESHOLD + 1)
    ]
    tried = [*by_count, *by_difference] if with_opponent else by_count
    return sorted(tried, key=lambda rule: (sum(rule), rule))


def choose(table: list[dict[str, Any]]) -> Candidate | None:
    """Return the rule of most information on train, None where presence tells as much.

    `table`: the rows of `counting_counts` of a pair. Equal information is decided for the simpler rule.
    """
    train = [row for row in table if row["split"] == "train"]
    c = np.array([row["n_key"] for row in train])
    with_opponent = train[0]["n_opponent"] is not None
    c2 = np.array([row["n_opponent"] or 0 for row in train])
    n = np.array([row["n_positions"] for row in train], dtype=np.float64)
    active = np.array([row["n_active"] for row in train], dtype=np.float64)

    tried = candidate_rules(with_opponent)
    p, m, threshold = (np.array(column)[:, None] for column in zip(*tried, strict=True))
    by_count = information(_cells(p * c - m * c2 >= threshold, n, active))
    by_presence = information(_cells(np.stack([c > 0, (c > 0) & (c2 == 0)]), n, active))
    # Rounding must not make a more complicated rule better than an equal one.
    best = int(np.argmax(by_count >= by_count.max() - 1e-12))
    if by_count[best] <= by_presence.max() + 1e-12:
        return None
    return Candidate(*tried[best], without_opponent=bool(by_presence[1] > by_presence[0] + 1e-12))


def information(cells: Floats) -> Floats:
    """Return the mutual information between a prediction and the truth, in bits a position.

    `cells` [..., 4]: predicted and active, predicted only, active only, neither. 0 where predicted positions
    are no more often active than others: a rule that says the contrary is no rule.
    """
    cells = np.asarray(cells, dtype=np.float64)
    total = cells.sum(axis=-1, keepdims=True)
    joint = cells.reshape(*cells.shape[:-1], 2, 2) / np.maximum(total, 1e-300)[..., None]
    expected = joint.sum(axis=-1, keepdims=True) * joint.sum(axis=-2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(joint > 0, joint * np.log2(joint / expected), 0.0).sum(axis=(-1, -2))
    contrary = joint[..., 0, 0] <= expected[..., 0, 0]
    return np.where(contrary, 0.0, np.maximum(bits, 0.0))


def choose_position(positions: Ints, n: Ints, n_active: Ints) -> PositionRule:
    """Return the position rule of most information, the first in the order of (threshold, side) of equals.

    `positions` [n]: ascending; `n`, `n_active`: how often the query stands there, and the feature is active.
    """
    rules = [PositionRule(int(pos), side) for pos in positions for side in (True, False)]
    at, side = np.repeat(positions, 2)[:, None], np.tile([True, False], len(positions))[:, None]
    predicted = np.where(side, positions >= at, positions <= at)
    bits = information(_cells(predicted, n, n_active))
    return rules[int(np.argmax(bits >= bits.max() - 1e-12))]


def _cells(predicted: Any, n: Any, n_active: Any) -> Floats:
    """Return the four cells that `information` reads, of each row of predictions: [rules, 4]."""
    parts = [
        np.where(predicted == side, weight, 0.0).sum(axis=-1)
        for side in (True, False)
        for weight in (n_active, n - n_active)
    ]
    return np.stack(parts, axis=-1)


def _judge(
    warehouse: Warehouse, chosen: dict[tuple[int, int], Candidate], bootstrap: SequenceBootstrap
) -> dict[tuple[int, int], dict[str, Any]]:
    """Return what `counting_rules` says of the candidates that beat presence on test."""
    if not chosen:
        return {}
    cases = {"features": [feature for feature, _ in chosen], "pairs": [pair for _, pair in chosen]}
    positions = _choose_positions(warehouse, cases)
    rules = [(rule, positions[case]) for case, rule in chosen.items()]
    columns = arrays(
        warehouse,
        step("outcomes"),
        {
            **cases,
            "key_weights": [rule.key_weight for rule, _ in rules],
            "opponent_weights": [rule.opponent_weight for rule, _ in rules],
            "thresholds": [rule.threshold for rule, _ in rules],
            "without_opponent": [rule.without_opponent for rule, _ in rules],
            "position_thresholds": [by_position.threshold for _, by_position in rules],
            "from_threshold": [by_position.from_threshold for _, by_position in rules],
        },
    )
    at = columns["feature"].astype(np.int64) << 32 | columns["pair"]
    judged = {}
    for (feature, pair), rule in chosen.items():
        here = at == (feature << 32 | pair)
        outcome = {name: column[here].astype(np.int64) for name, column in columns.items()}
        row = _judge_rule(rule, positions[feature, pair], outcome, bootstrap)
        if row is not None and beats(row, "presence_"):
            judged[feature, pair] = row
    return judged


def _choose_positions(
    warehouse: Warehouse, cases: dict[str, list[int]]
) -> dict[tuple[int, int], PositionRule]:
    columns = arrays(warehouse, step("position_counts"), cases)
    found = {}
    for feature, pair in zip(cases["features"], cases["pairs"], strict=True):
        here = (columns["feature"] == feature) & (columns["pair"] == pair)
        found[feature, pair] = choose_position(
            *(columns[name][here].astype(np.int64) for name in ("pos", "n_positions", "n_active"))
        )
    return found


def _judge_rule(
    rule: Candidate, by_position: PositionRule, outcome: dict[str, Ints], bootstrap: SequenceBootstrap
) -> dict[str, Any] | None:
    """Return what the test half says of a rule and its baselines, None for too few sequences."""
    sequences, place = np.unique(outcome["seq_id"], return_inverse=True)
    if len(sequences) < FEWEST:
        return None
    names = {"": "count", "presence_": "presence", "position_": "position", "skipgram_": "skipgram"}
    per_sequence = {}
    for prefix, name in names.items():
        cells = np.zeros((len(sequences), 4))
        np.add.at(cells, (place, 2 * (1 - outcome[f"by_{name}"]) + 1 - outcome["is_active"]), outcome["n"])
        per_sequence[prefix] = cells
    row: dict[str, Any] = {
        **{name: getattr(rule, name) for name in ("key_weight", "opponent_weight", "threshold")},
        "presence": "key without opponent" if rule.without_opponent else "key",
        "position_side": "from" if by_position.from_threshold else "up to",
        "position_threshold": by_position.threshold,
        "n_positions": int(outcome["n"].sum()),
        "n_active": int(outcome["n"][outcome["is_active"] == 1].sum()),
    }
    for prefix, cells in per_sequence.items():
        rated = _rate(cells.sum(axis=0))
        wanted = rated if prefix != "skipgram_" else {name: rated[name] for name in ("f1", "information")}
        row |= {prefix + name: value for name, value in wanted.items()}
    weights = bootstrap.weights(sequences).T
    by_count = information(weights @ per_sequence[""])
    for prefix, (gain, ends) in _GAINS.items():
        gains = by_count - information(weights @ per_sequence[prefix])
        low, high = interval(gains) or (0.0, 0.0)
        row[gain] = row["information"] - row[prefix + "information"]
        row |= {f"{ends}_low": low, f"{ends}_high": high}
    return row


def beats(row: dict[str, Any], baseline: str) -> bool:
    """Tell whether a row of `counting_rules` beats `presence_` or `position_`: in information and in F1."""
    _, ends = _GAINS[baseline]
    return bool(row[f"{ends}_low"] > 0 and row["f1"] > row[f"{baseline}f1"])


def _rate(cells: Floats) -> dict[str, float]:
    hits, false, missed, _ = cells.tolist()
    precision = hits / (hits + false) if hits + false else 1.0
    recall = hits / (hits + missed) if hits + missed else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "information": float(information(cells))}
