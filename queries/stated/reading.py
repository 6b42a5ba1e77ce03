"""Rules judged exactly as they are read (method.md section 13.2): where each holds, how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.errors import UsageError, refuse_below
from attnrules.queries.arrays import Floats, Ints, arrays
from attnrules.queries.bootstrap import FEWEST, bootstrap_weights, interval_ends
from attnrules.queries.heads import FeatureId, finished_sequences, parse_feature, refuse_unknown_feature
from attnrules.queries.intervals import wilson
from attnrules.queries.stated.language import Statement, parse
from attnrules.queries.stated.members import resolved, table_of
from attnrules.sql import Statements
from attnrules.warehouse.arrow import arrow_table

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "stated")

# Of a list that is not stated, the rules that are read.
N_READ = 16
# Rules whose intervals are drawn together: bounds memory, not results.
_RULES_AT_ONCE = 4_096
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Example:
    """A position at which a rule is right or wrong, or which it misses.

    Arguments:
        kind: right, wrong or missed. activation: of the feature, None where it is silent.
        before: the text of the sequence up to the token.
    """

    kind: str
    seq_id: int
    pos: int
    activation: float | None
    before: str
    token: str


@dataclass(frozen=True)
class Reading:
    """How a rule does as it is read, on every position after BOS of the test sequences.

    Arguments:
        statement: the rule in the language. n_sequences, n_positions: judged. n_active: where the feature is
            active. n_matches, n_match_sequences: where the rule holds. n_hits: where it is right.
        precision, recall, lift: None where the share is of nothing; each with its 95% interval over
            sequences (method.md section 13.2). examples: drawn by the seed.
    """

    feature: str
    statement: str
    n_sequences: int
    n_positions: int
    n_active: int
    n_matches: int
    n_match_sequences: int
    n_hits: int
    precision: float | None
    precision_interval: Interval
    recall: float | None
    recall_interval: Interval
    lift: float | None
    lift_interval: Interval
    examples: tuple[Example, ...]


def read_rule(
    warehouse: Warehouse,
    feature: FeatureId,
    statement: Statement,
    *,
    seed: int | None = None,
    n_examples: int = 4,
) -> Reading:
    """Judge a rule on all test sequences, exactly as it is read.

    The `seed` says which sequences these are; None for that with which rules of the feature were mined, which
    have learnt from the others, 0 where there are none.

    Raises `UsageError` for a token or feature that the warehouse does not have, or a number out of bounds,
    `AttnRulesError` where its ingest is not finished.
    """
    refuse_below(0, "n_examples=", n_examples)
    if seed is not None:
        refuse_below(0, "seed=", seed)
    finished_sequences(warehouse)
    at = {"layer": feature.layer, "head": feature.head}
    refuse_unknown_feature(warehouse, feature)
    rows = resolved(warehouse, statement)
    if seed is None:
        found = warehouse.rows(step("seed_of_feature"), {**at, "feature": feature.feature})
        seed = next((of_run for (of_run,) in found if of_run is not None), 0)
    with warehouse.session():
        match_given(warehouse, at, [feature.feature], [rows], seed)
        read = readings(warehouse, seed, arrays(warehouse, step("reading_counts")))
        drawn = {"seed": seed, "n_examples": n_examples}
        examples = tuple(Example(*row) for row in warehouse.rows(step("reading_examples"), drawn))
    return _reading(feature, statement, read, examples)


def parse_rule(text: str) -> tuple[Statement, FeatureId]:
    """Read a rule that ends in its feature; raises `UsageError` for what is no rule, or names none."""
    statement, target = parse(text)
    if target is None:
        raise UsageError(f"{text}: names no feature; end it with -> and one, such as -> L0H3.17")
    return statement, parse_feature(target)


def match_given(
    warehouse: Warehouse,
    at: dict[str, int],
    features: Sequence[int],
    rows: Sequence[Sequence[dict[str, Any]]],
    seed: int,
) -> None:
    """Find where rules that are not stored hold on all test sequences, and where their features are active.

    Needs a session. Arguments:
        at: the layer and head. features: by rule, its feature. rows: by rule, what `member_rows` returns.
    """
    rule = np.repeat(np.arange(len(rows)), [len(of_rule) for of_rule in rows])
    members = table_of(list(chain.from_iterable(rows)), rule=rule, scope=np.zeros(len(rule)))
    warehouse.execute(step("make_given_rules"), {"features": list(features)})
    warehouse.execute(step("make_given_members"))
    warehouse.append("read_members", members)
    warehouse.execute(step("make_tested_positions"), {"seed": seed})
    match(warehouse)
    warehouse.execute(step("make_read_truth"), at)


def match(warehouse: Warehouse) -> None:
    """Find where the rules of `read_members` hold among the positions of `judged`: make `read_matches`."""
    for name in ("sequences", "tokens"):
        warehouse.execute(step(f"make_read_{name}"))
    match_tokens(warehouse)


def match_tokens(warehouse: Warehouse) -> None:
    """Do the same with the tokens of `read_tokens` as they are."""
    for name in ("hits", "copies", "atoms", "matches"):
        warehouse.execute(step(f"make_read_{name}"))


def match_rules(warehouse: Warehouse, at: dict[str, int], example_set: str) -> None:
    """Find where stated rules of the mined features hold among the positions of `judged`.

    On all positions `read_rules` holds the first rules of the other methods too: `store_readings` counts
    these.
    """
    warehouse.execute(step("make_read_rules"), {**at, "example_set": example_set, "n_read": N_READ})
    warehouse.execute(step("make_read_members"))
    match(warehouse)


def store_readings(warehouse: Warehouse, at: dict[str, int], *, seed: int, run_id: int) -> None:
    """Add to `rule_readings` how the rules of `read_rules` do on both splits of `judged`."""
    warehouse.execute(step("make_read_truth"), at)
    rules = warehouse.sql(step("rule_numbers")).to_arrow_table()
    if not rules.num_rows:
        return
    columns: dict[str, Any] = {
        name: np.full(rules.num_rows, value) for name, value in {**at, "run_id": run_id}.items()
    }
    columns |= {
        name: rules.column(name).combine_chunks() for name in ("feature", "method", "scaling", "rank")
    }
    for split, read in readings(warehouse, seed, _counts(warehouse, at["layer"])).items():
        counted = {name: np.ma.masked_invalid(column) for name, column in read.columns.items()}
        warehouse.append("rule_readings", arrow_table({**columns, "split": split, **counted}))


def _counts(warehouse: Warehouse, layer: int) -> dict[str, Any]:
    """Return what `readings` is given, of stated rules and of all others, in order of the rule."""
    warehouse.execute(step("make_key_members"))
    stated = arrays(warehouse, step("reading_counts"))
    others = arrays(warehouse, step("key_rule_counts"), {"layer": layer})
    order = np.argsort(np.r_[stated["rule"], others["rule"]], kind="stable")
    return {name: np.r_[stated[name], others[name]][order] for name in stated}


@dataclass(frozen=True)
class Read:
    """Rules read on a split, one entry of every column per rule, NaN for none; `n_sequences` were judged."""

    n_sequences: int
    columns: dict[str, Any]


def readings(warehouse: Warehouse, seed: int, counts: dict[str, Any]) -> dict[str, Read]:
    """Return how the rules of `read_rules` do on each split of `judged` that has sequences.

    Arguments:
        counts: by rule, ascending, and sequence, `n_matches` where it holds and `n_hits` of these.
    """
    rules = arrays(warehouse, "SELECT rule, feature FROM read_rules ORDER BY rule")
    active = arrays(warehouse, step("reading_active"))
    judged = arrays(warehouse, step("reading_sequences"))
    found = {}
    for is_test, split in enumerate(("train", "test")):
        chosen = judged["is_test"] == is_test
        if chosen.any():
            sequences, n_positions = judged["seq_id"][chosen], judged["n_positions"][chosen]
            columns = _columns(rules["feature"], counts, active, sequences, n_positions, seed)
            found[split] = Read(len(sequences), columns)
    return found


def _columns(
    feature: Ints,
    counts: dict[str, Any],
    active: dict[str, Any],
    sequences: Ints,
    n_positions: Ints,
    seed: int,
) -> dict[str, Any]:
    """Return the columns of `rule_readings` that are counted, one entry per rule."""
    of_features, row = np.unique(feature, return_inverse=True)
    of_active = np.searchsorted(of_features, active["feature"])
    n_active = by_sequence(of_active, active, "n_active", sequences, len(of_features))
    weights = np.c_[np.ones(len(sequences)), bootstrap_weights(sequences, seed)]
    parts = []
    for first in range(0, len(feature), _RULES_AT_ONCE):
        some = slice(*np.searchsorted(counts["rule"], [first, first + _RULES_AT_ONCE]))
        here = {name: column[some] for name, column in counts.items()}
        n = min(_RULES_AT_ONCE, len(feature) - first)
        matches, hits = (
            by_sequence(here["rule"] - first, here, name, sequences, n) for name in ("n_matches", "n_hits")
        )
        of = row[first : first + n]
        parts.append(_rates(matches, hits, n_active, of, n_positions, weights))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def by_sequence(row: Ints, rows: dict[str, Any], name: str, sequences: Ints, n_rows: int) -> Floats:
    """Return a count as a matrix [n_rows, n_sequences], 0 without a row; other splits are left out."""
    column = np.searchsorted(sequences, rows["seq_id"]).clip(max=len(sequences) - 1)
    here = np.flatnonzero(sequences[column] == rows["seq_id"])
    cell = row[here] * len(sequences) + column[here]
    counted = np.bincount(cell, rows[name][here], n_rows * len(sequences))
    return counted.reshape(n_rows, len(sequences)).astype(np.float64)


def _rates(
    matches: Floats, hits: Floats, n_active: Floats, of: Ints, n_positions: Ints, weights: Floats
) -> dict[str, Any]:
    """Return counts and rates with intervals; the first column of `weights` counts every sequence once."""
    m, h, a = matches @ weights, hits @ weights, (n_active @ weights)[of]
    base = a / np.maximum(n_positions @ weights, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = {"precision": h / m, "recall": h / a, "lift": h / m / base}
    found: dict[str, Any] = {
        "n_positions": np.full(len(m), n_positions.sum()),
        "n_active": a[:, 0].astype(np.int64),
        "n_matches": m[:, 0].astype(np.int64),
        "n_match_sequences": np.count_nonzero(matches, axis=1).astype(np.int64),
        "n_hits": h[:, 0].astype(np.int64),
    }
    ends = {name: _ends(values) for name, values in shares.items()}
    _widen(ends["precision"], shares["precision"][:, 0], found["n_match_sequences"])
    _widen(ends["lift"], shares["precision"][:, 0], found["n_match_sequences"], base[:, 0])
    _widen(ends["recall"], shares["recall"][:, 0], np.count_nonzero(n_active, axis=1)[of])
    for name, (low, high) in ends.items():
        found |= {name: shares[name][:, 0], f"{name}_low": low, f"{name}_high": high}
    return found


def _ends(values: Floats) -> tuple[Floats, Floats]:
    """Return the ends of 95% of the resamples [n, 1 + replicates], NaN where the share is of nothing."""
    values[~np.isfinite(values)] = np.nan
    ends = interval_ends(values[:, 1:])
    ends[np.isnan(values[:, 0])] = np.nan
    return ends[:, 0], ends[:, 1]


def _widen(ends: tuple[Floats, Floats], share: Floats, n_sequences: Ints, base: Floats | None = None) -> None:
    """Put Wilson's ends, over `base`, where resamples say too little: all of them agree, or nearly so.

    They do where a share is 0 or 1, and where it is of fewer than `FEWEST` sequences. A sequence counts once,
    for its positions depend on each other.
    """
    over = np.ones(len(share)) if base is None else base
    # Where the feature is never active, lift is a ratio to nothing and has no ends.
    alike = (share == 0) | (share == 1) | (np.isfinite(share) & (n_sequences < FEWEST))
    same = np.flatnonzero(alike & (over > 0))
    of = wilson(share[same] * n_sequences[same], n_sequences[same])
    for end, found in zip(ends, of, strict=True):
        end[same] = found / over[same]


def _reading(
    feature: FeatureId, statement: Statement, read: dict[str, Read], examples: tuple[Example, ...]
) -> Reading:
    of_test = read["test"]
    numbers = {name: column[0].item() for name, column in of_test.columns.items()}
    one: dict[str, Any] = {name: None if np.isnan(number) else number for name, number in numbers.items()}
    intervals: dict[str, Any] = {
        f"{name}_interval": None if one[f"{name}_low"] is None else (one[f"{name}_low"], one[f"{name}_high"])
        for name in ("precision", "recall", "lift")
    }
    kept = {name: value for name, value in one.items() if not name.endswith(("_low", "_high"))}
    return Reading(
        feature=str(feature),
        statement=str(statement),
        n_sequences=of_test.n_sequences,
        examples=examples,
        **kept,
        **intervals,
    )
