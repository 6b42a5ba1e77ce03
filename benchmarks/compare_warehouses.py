"""Two warehouses compared bit for bit, table by table: what a change that should change nothing has changed.

python -m benchmarks.compare_warehouses before.duckdb after.duckdb [--tables rules,examples]

Prints the tables that differ: how many rows only one of them holds, and the largest difference of each
column of numbers between rows that agree in everything else. Exits with 1 where there is a difference. Run
numbers, times and the tables `runs` and `schema_version` say which run wrote something, not what: they are
left out, and so are the digests, which cover run numbers too, and the order of rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

_LEFT_OUT = {"runs", "schema_version", "digests"}
_SIDES = ("a", "b")


@dataclass(frozen=True)
class Difference:
    """How a table differs.

    Arguments:
        columns: those that only one warehouse has, or has under another type.
        only_first, only_second: rows without an equal row in the other warehouse.
        largest: by column of numbers, the largest difference between rows that agree in every column that is
            no fraction.
    """

    table: str
    columns: tuple[str, ...] = ()
    only_first: int = 0
    only_second: int = 0
    largest: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.columns:
            return f"{self.table}: other columns: {', '.join(self.columns)}"
        parts = [f"{name} by up to {size:.3g}" for name, size in self.largest.items()]
        found = (
            f"{self.table}: {self.only_first} rows only in the first, {self.only_second} only in the second"
        )
        return f"{found}; {', '.join(parts)}" if parts else found


def compare(first: Path, second: Path, tables: Collection[str] | None = None) -> list[Difference]:
    """Return the tables that differ, of those named or of all.

    Raises `duckdb.Error` for a file that cannot be read, `KeyError` for a table that neither has.
    """
    with duckdb.connect() as connection:
        for side, path in zip(_SIDES, (first, second), strict=True):
            connection.execute(f"ATTACH $path AS {side} (READ_ONLY)", {"path": str(path)})
        columns = {side: _columns(connection, side) for side in _SIDES}
        known = sorted({*columns["a"], *columns["b"]} - _LEFT_OUT)
        unknown = sorted({*(tables or ())} - {*known})
        if unknown:
            raise KeyError(f"no table {', '.join(unknown)}; there are {', '.join(known)}")
        found = []
        for table in known if tables is None else sorted(tables):
            here, there = (columns[side].get(table, {}) for side in _SIDES)
            other = tuple(sorted({name for name, _ in here.items() ^ there.items()}))
            difference = Difference(table, other) if other else _rows_differ(connection, table, here)
            if difference is not None:
                found.append(difference)
        return found


def _columns(connection: duckdb.DuckDBPyConnection, side: str) -> dict[str, dict[str, str]]:
    """Return by table the type of each column that says what was found."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns()"
        " INNER JOIN duckdb_tables() USING (database_name, table_name)"
        " WHERE database_name = $side AND column_name <> 'run_id' AND data_type NOT LIKE 'TIMESTAMP%'"
        " ORDER BY table_name, column_index",
        {"side": side},
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return found


def _rows_differ(
    connection: duckdb.DuckDBPyConnection, table: str, columns: dict[str, str]
) -> Difference | None:
    names = ", ".join(map(_quoted, columns))
    # Two sums over hashes of the rows first: sorting millions of equal rows would take minutes.
    digest = (
        f"SELECT count(*), sum(hash({names})::HUGEINT), bit_xor(hash({names})) FROM {{}}.{_quoted(table)}"
    )
    if len({connection.execute(digest.format(side)).fetchone() for side in _SIDES}) == 1:
        return None
    for side, other in (_SIDES, _SIDES[::-1]):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE only_{side} AS SELECT {names} FROM {side}.{_quoted(table)}"
            f" EXCEPT ALL SELECT {names} FROM {other}.{_quoted(table)}"
        )
    numbers = [name for name, kind in columns.items() if kind in ("FLOAT", "DOUBLE")]
    first, second = (
        int(connection.execute(f"SELECT count(*) FROM only_{side}").fetchall()[0][0]) for side in _SIDES
    )
    exact = [name for name, kind in columns.items() if name not in numbers and "[" not in kind]
    return Difference(table, (), first, second, largest=_largest(connection, exact, numbers))


def _largest(connection: duckdb.DuckDBPyConnection, exact: list[str], numbers: list[str]) -> dict[str, float]:
    """Return the largest differences of numbers between rows of `only_a` and `only_b` alike in `exact`."""
    if not exact or not numbers:
        return {}
    same = " AND ".join(f"a.{_quoted(name)} IS NOT DISTINCT FROM b.{_quoted(name)}" for name in exact)
    sizes = ", ".join(f"max(abs(a.{_quoted(name)} - b.{_quoted(name)}))" for name in numbers)
    row = connection.execute(f"SELECT {sizes} FROM only_a AS a INNER JOIN only_b AS b ON {same}").fetchall()[
        0
    ]
    return {name: size for name, size in zip(numbers, row, strict=True) if size}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def main() -> int:
    """Compare the warehouses named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--tables", help="only these, separated by commas")
    arguments = parser.parse_args()
    tables = arguments.tables.split(",") if arguments.tables else None
    differences = compare(arguments.first, arguments.second, tables)
    print("\n".join(map(str, differences)) or "no difference")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
