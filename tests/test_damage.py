"""`attnrules check` finds whatever was changed behind the back of the commands, in every column of every table."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnrules.warehouse import Warehouse, check, digests
from attnrules.warehouse.rowhash import row_hashes
from benchmarks.damage import columns, damaged, statements


@pytest.fixture(scope="module")
def filled(small_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A warehouse with rows of every kind but interventions; each test undoes what it damages."""
    path = Path(shutil.copy(small_once, tmp_path_factory.mktemp("damage") / "w.duckdb"))
    with Warehouse.open(path, writable=True) as warehouse, warehouse.session():
        yield warehouse


def kept(filled: Warehouse) -> Any:
    """Return the connection of the session that the fixture keeps."""
    with filled.session() as connection:
        return connection


def test_what_the_commands_wrote_is_whole(filled: Warehouse) -> None:
    assert [result for result in check(filled) if result.n_problems] == []


def missed(filled: Warehouse, kind: str, *, once_a_table: bool) -> tuple[list[str], int]:
    """Do a damage of this kind to every column or table; return those it is not found in, and how often it was done."""
    connection = kept(filled)
    rng = random.Random(1)
    unseen, done, tables = [], 0, set()
    for column in columns(connection):
        if once_a_table and column.table in tables:
            continue
        n_rows = filled.value(f'SELECT count(*) FROM "{column.table}"')
        if not damaged(connection, statements(kind, column, rng, n_rows), column.table):
            continue
        tables.add(column.table)
        done += 1
        of_table = (
            digests.problems(filled, column.table)
            if column.table != "digests"
            else [p for table in digests.tables() for p in digests.problems(filled, table)]
            + digests.strays(filled)
        )
        if not of_table:
            unseen.append(f"{column.table}.{column.name}")
        filled.execute("ROLLBACK")
    return unseen, done


def test_another_value_is_found_in_every_column(filled: Warehouse) -> None:
    unseen, done = missed(filled, "value changed", once_a_table=False)
    assert unseen == []
    assert done > 150


@pytest.mark.parametrize("kind", ["row deleted", "row duplicated"])
def test_a_lost_or_repeated_row_is_found_in_every_table(filled: Warehouse, kind: str) -> None:
    unseen, done = missed(filled, kind, once_a_table=True)
    assert unseen == []
    assert done > 15


def test_a_vector_of_zeros_is_found(filled: Warehouse) -> None:
    connection = kept(filled)
    rng = random.Random(0)
    for table, name in (("projections", "key_vector"), ("output_features", "encoder")):
        (column,) = [c for c in columns(connection) if (c.table, c.name) == (table, name)]
        n_rows = filled.value(f"SELECT count(*) FROM {table}")
        # Some planted vectors are zero as they are.
        tried = (statements("vector zeroed", column, rng, n_rows) for _ in range(100))
        assert any(damaged(connection, ways, table) for ways in tried)
        assert digests.problems(filled, table)
        filled.execute("ROLLBACK")


def test_a_row_that_moved_to_another_chunk_is_found(filled: Warehouse) -> None:
    filled.execute("BEGIN TRANSACTION")
    filled.execute("UPDATE chunks SET first_seq = first_seq + 1 WHERE chunk_id = 0")
    assert digests.problems(filled, "tokens")
    assert digests.problems(filled, "chunks")
    filled.execute("ROLLBACK")


def test_the_command_names_table_and_feature(small: Path, attnrules: Callable[..., Any]) -> None:
    assert attnrules("check", small).code == 0
    with Warehouse.open(small, writable=True) as warehouse:
        feature = warehouse.value("SELECT min(feature) FROM rules WHERE layer = 0 AND head = 0")
        warehouse.execute(
            "UPDATE rules SET score = score * 1.001 WHERE layer = 0 AND head = 0 AND feature = $feature AND rank = 1",
            {"feature": feature},
        )
    outcome = attnrules("check", small)
    assert outcome.code == 1
    assert f"FAIL  contents of rules: 1 problems, first: L0H0.{feature}:" in outcome.out
    assert attnrules("check", small, "--quick").code == 0


def test_mining_again_makes_what_it_writes_whole_and_nothing_else(
    small: Path, attnrules: Callable[..., Any]
) -> None:
    with Warehouse.open(small, writable=True) as warehouse:
        warehouse.execute("UPDATE rules SET score = score * 1.001 WHERE layer = 0 AND head = 0")
        warehouse.execute("UPDATE vocabulary SET token = 'x' WHERE token_id = 3")
    options = (
        "--layers",
        "0",
        "--heads",
        "0",
        "--features",
        "all",
        "--examples-per-split",
        "4",
        "--no-baselines",
    )
    again = attnrules("mine", "skipgrams", small, *options, "--method", "all", "--example-sets", "paper")
    assert again.code == 0, again.err
    failed = [line for line in attnrules("check", small).out.splitlines() if line.startswith("FAIL")]
    assert [line.split(":")[0] for line in failed] == ["FAIL  contents of vocabulary"]


floats = st.floats(width=32, allow_nan=True)


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), floats, st.text(max_size=3)), max_size=8))
def test_hashes_do_not_depend_on_the_width_of_integers_or_the_order_of_columns(rows: list[Any]) -> None:
    number, value, text = ([row[i] for row in rows] for i in range(3))
    narrow = {
        "n": pa.array(number, pa.int32()),
        "v": pa.array(value, pa.float32()),
        "t": pa.array(text, pa.string()),
    }
    wide = {**narrow, "n": pa.array(number, pa.int64())}
    reordered = dict(reversed(narrow.items()))
    first, *others = (row_hashes(pa.record_batch(columns)).tolist() for columns in (narrow, reordered, wide))
    assert others == [first, first]


@given(st.lists(st.lists(floats, max_size=3), min_size=2, max_size=4, unique_by=str))
def test_lists_that_differ_have_hashes_that_differ(lists: list[list[float]]) -> None:
    arrays = [pa.record_batch({"x": pa.array([numbers], pa.list_(pa.float32()))}) for numbers in lists]
    hashes = [row_hashes(array)[0] for array in arrays]
    bits = {pa.array(numbers, pa.float32()).to_numpy().tobytes() for numbers in lists}
    assert len(set(hashes)) == len(bits)


MINING = ["mine", "skipgrams", "--method", "weighted", "--examples-per-split", "4"]


@pytest.mark.parametrize(
    ("table", "command"),
    [
        ("heads", ["show", "L0H0"]),
        ("heads", MINING),
        ("corpus", ["describe"]),
        ("projections", MINING),
        ("tokens", MINING),
        ("feature_heads", MINING),
    ],
)
def test_a_command_that_fails_for_rows_that_are_missing_says_so(
    small: Path, attnrules: Callable[..., Any], table: str, command: list[str]
) -> None:
    with duckdb.connect(small) as connection:
        connection.execute(f"DELETE FROM {table}")
    name, *others = command
    where = [*([others.pop(0)] if name == "mine" else []), small]
    result = attnrules(name, *where, *others)
    assert result.code == 1
    assert f"{small}: is damaged: table {table}: " in result.err
    assert "unexpected" not in result.err
