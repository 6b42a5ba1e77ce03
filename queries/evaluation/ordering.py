"""Judged positions of each list in order of its predictions: thresholds, ranks and precision are read off it.

In numpy: DuckDB's window over the 11.5 million rows of a head of the demo, and the join before it, took 14 s
of processor time, these sorts of one list after another 6 s under a profiler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.queries.arrays import Floats, Ints, arrays, run_starts
from attnrules.queries.csr import Grouped
from attnrules.queries.evaluation.carried import Predicted
from attnrules.sql import Statements
from attnrules.warehouse.arrow import arrow_table, labels

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "evaluation")

SPLITS = ("train", "val", "test")
_TEST = SPLITS.index("test")
# Rows appended at once: bounds memory, not results.
_ROWS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class TestRows:
    """Rows of the test split of one list, predictions descending: [n] each."""

    list: int
    place: Ints
    prediction: Floats
    is_active: Any


def order_rows(warehouse: Warehouse, made: Mapping[int, Sequence[Predicted]]) -> list[TestRows]:
    """Fill the temporary table `judged_rows` for the lists of `evaluated`; return those of the test split.

    Arguments:
        made: by way, the predictions that are not rows of the temporary table `predictions`.
    """
    warehouse.execute(step("make_judged_rows"))
    of_tests: list[TestRows] = []
    waiting: list[_Rows] = []
    n_waiting = 0
    for rows in _ordered(warehouse, made):
        waiting.append(rows)
        n_waiting += len(rows.columns["place"])
        if rows.split == _TEST and len(rows.columns["place"]):
            place, prediction, activation = (rows.columns[c] for c in ("place", "prediction", "activation"))
            of_tests.append(TestRows(rows.list, place, prediction, activation > 0))
        if n_waiting >= _ROWS_AT_ONCE:
            _append(warehouse, waiting)
            waiting, n_waiting = [], 0
    _append(warehouse, waiting)
    return of_tests


@dataclass(frozen=True)
class _Rows:
    """Rows of one list and split; `columns` are further ones of `judged_rows`."""

    list: int
    split: int
    columns: dict[str, Any]


def _append(warehouse: Warehouse, parts: list[_Rows]) -> None:
    if not parts:
        return
    n_rows = [len(part.columns["place"]) for part in parts]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    columns["rank_from_above"] = np.ma.masked_invalid(columns["rank_from_above"])
    columns["list"] = np.repeat([part.list for part in parts], n_rows)
    split = np.repeat(np.array([part.split for part in parts], np.int8), n_rows)
    columns["split"] = labels(split, SPLITS)
    warehouse.append("judged_rows", arrow_table(columns))


def _ordered(warehouse: Warehouse, made: Mapping[int, Sequence[Predicted]]) -> Iterator[_Rows]:
    """Yield the rows of each list, split by split, where it predicts something or its feature is known."""
    split_of = arrays(warehouse, step("judged_places"))["split"]
    truth = arrays(warehouse, step("truth_rows"))
    lists = arrays(warehouse, step("evaluated_lists"))
    rows = arrays(warehouse, step("predicted_rows"))
    of_list = Grouped.by(rows.pop("list"), len(lists["way"]), rows)
    in_memory = {(way, own.feature, own.n_rules): own for way, of_way in made.items() for own in of_way}
    named = zip(*(lists[name].tolist() for name in ("way", "feature", "n_rules")), strict=True)
    for number, (way, feature, n_rules) in enumerate(named):
        known = slice(*np.searchsorted(truth["feature"], [feature, feature + 1]))
        own = {name: column[of_list.one(number)] for name, column in of_list.values.items()}
        if found := in_memory.get((way, feature, n_rules)):
            own = {"place": found.place, "prediction": found.prediction}
        columns = _with_truth(own, {name: column[known] for name, column in truth.items()})
        split = split_of[columns["place"]]
        # Equal predictions may come in any order. A stable sort took six times as long.
        order = np.argsort(-columns["prediction"])
        for part in range(len(SPLITS)):
            chosen = order[split[order] == part]
            yield _Rows(number, part, _counted({name: column[chosen] for name, column in columns.items()}))


def _with_truth(own: dict[str, Any], truth: dict[str, Any]) -> dict[str, Any]:
    """Return predictions and truth of the places that have either: [n] each."""
    both = np.r_[own["place"], truth["place"]]
    first = int(both.min(initial=0))
    row = np.full(int(both.max(initial=0)) - first + 1, -1)
    row[own["place"] - first] = 0
    row[truth["place"] - first] = 0
    offset = np.flatnonzero(row >= 0) if len(both) else row[:0]
    row[offset] = np.arange(len(offset))
    columns: dict[str, Any] = {"place": offset + first}
    for name, of, absent in (
        ("prediction", own, 0.0),
        ("activation", truth, 0.0),
        ("rank_from_above", truth, np.nan),
    ):
        columns[name] = np.full(len(offset), absent)
        columns[name][row[of["place"] - first]] = of[name]
    return columns


def _counted(columns: dict[str, Any]) -> dict[str, Any]:
    """Add how many rows are predicted more, and how many at least as much; predictions descend."""
    prediction = columns["prediction"]
    starts = run_starts(prediction)
    n_equal = np.diff(starts, append=len(prediction))
    columns["n_above"] = np.repeat(starts, n_equal)
    columns["n_at_least"] = columns["n_above"] + np.repeat(n_equal, n_equal)
    return columns
