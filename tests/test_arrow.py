"""Columns handed between Arrow and numpy, and what that imports."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnrules.warehouse.arrow import arrow_table, labels, numpy_column


@settings(deadline=None)
@given(st.lists(st.none() | st.booleans()), st.lists(st.none() | st.integers(-(2**20), 2**20)))
def test_numpy_column_is_what_to_numpy_returns(flags: list[bool | None], numbers: list[int | None]) -> None:
    known = [flag for flag in flags if flag is not None]
    for column in (
        pa.array(known, pa.bool_()),
        pa.chunked_array([pa.array(known, pa.bool_())[1:], pa.array(known, pa.bool_())]),
        pa.array(numbers, pa.float32()),
        pa.array(numbers, pa.float64())[1:],
        pa.array(numbers, pa.int32())[2:],
        pa.chunked_array([pa.array(numbers, pa.int64())[1:], pa.array(numbers[:1], pa.int64())]),
        pa.chunked_array([], pa.bool_()),
        pa.chunked_array([], pa.int32()),
    ):
        expected = (
            column.to_numpy()
            if isinstance(column, pa.ChunkedArray)
            else column.to_numpy(zero_copy_only=False)
        )
        np.testing.assert_array_equal(numpy_column(column), expected)
        if not len(column):
            assert numpy_column(column).dtype == expected.dtype


def test_arrow_table_repeats_texts_and_makes_masked_entries_null() -> None:
    numbers = np.ma.masked_array([1, 2, 3], [False, True, False])
    table = arrow_table({"a": numbers, "b": "é", "c": np.array([True, False, True])})
    assert table.to_pydict() == {"a": [1, None, 3], "b": ["é"] * 3, "c": [True, False, True]}


@pytest.mark.parametrize("n", [0, 9])
def test_arrow_table_of_any_length(n: int) -> None:
    assert arrow_table({"text": "x", "number": np.arange(n)}).to_pydict() == {
        "text": ["x"] * n,
        "number": list(range(n)),
    }


@pytest.mark.parametrize(
    "mining",
    [
        "mine_skipgrams(w, SkipgramSpec(**heads, examples_per_split=4))",
        "mine_skipgrams(w, SkipgramSpec(**heads, examples_per_split=4, method='weighted'))",
        "mine_absence(w, AbsenceSpec(**heads))",
    ],
)
def test_columns_are_handed_over_without_pandas(
    mining: str, small_ingested_once: Path, tmp_path: Path
) -> None:
    path = shutil.copy(small_ingested_once, tmp_path / "planted.duckdb")
    code = (
        "import sys; from pathlib import Path; from attnrules.warehouse import Warehouse;"
        "from attnrules.queries.absence import AbsenceSpec, mine_absence;"
        "from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams;"
        "heads = dict(layers=(0,), heads=(0,), n_features=1);"
        f"w = Warehouse.open(Path(sys.argv[1]), writable=True); {mining}; w.close();"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 0


def test_labels_are_the_names_of_their_codes() -> None:
    table = arrow_table({"split": labels(np.array([2, 0, 2], np.int8), ("train", "val", "test"))})
    assert table.to_pydict() == {"split": ["test", "train", "test"]}
