"""What share of damage `attnrules check` finds: python -m benchmarks.damage WAREHOUSE [--trials 2] [--quick]

Each trial does one damage to a copy and undoes it: a value changed to another plausible one, a vector zeroed,
a row deleted, duplicated or moved, values of two rows exchanged, a digest deleted, a definition dropped, a
column dropped, a bit flipped in a block of the file, the file cut off. Damage that changes nothing is not
counted. --quick tries `check --quick`. Prints a Markdown table: kind, trials, found, wrong endings.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from attnrules import sql
from attnrules.errors import AttnRulesError
from attnrules.warehouse import Warehouse, check

# Groups of tables as they are reported.
GROUPS = {
    "ledger": ("chunks", "digests", "schema_version"),
    "facts": ("tokens", "input_activations", "output_activations", "attention_sources", "token_scales"),
    "saes": ("saes",),
    "weights": ("heads", "projections", "output_features"),
    "examples": ("examples",),
    "rules": ("rules",),
    "metrics": ("rule_evaluations", "rule_metric_values", "rule_scores"),
    "absence, counting, interventions": (
        "distractors", "distractor_examples", "absence_tests", "counting_counts", "counting_rules",
        "counting_tests", "interventions",
    ),
    "model, corpus, runs": ("model", "corpus", "runs"),
    "vocabulary, descriptions": ("vocabulary", "feature_descriptions", "input_features", "methods"),
}  # fmt: skip
# The kinds of damage that statements do, and the commands that meet a damaged file.
STATEMENT_KINDS = ("value changed", "vector zeroed", "row deleted", "row duplicated", "values exchanged")
FILE_KINDS = ("bit flipped", "file cut off", "block zeroed")
COMMANDS = (
    ("info",), ("check",), ("describe",), ("query", "FROM rule_metrics_by_head"),
    ("query", "FROM input_activations"), ("show", "L0H0.0"), ("mine", "absence"), ("export", "{out}"),
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a table and its type in DuckDB's words."""

    table: str
    name: str
    type: str


def columns(connection: duckdb.DuckDBPyConnection) -> list[Column]:
    """Return the columns of every table that holds rows."""
    found = connection.execute(
        "SELECT c.table_name, c.column_name, c.data_type FROM duckdb_columns() AS c"
        " INNER JOIN duckdb_tables() AS t USING (database_oid, table_oid)"
        " WHERE NOT t.temporary ORDER BY c.table_name, c.column_index"
    ).fetchall()
    filled = {row[0] for row in found if connection.execute(f'SELECT 1 FROM "{row[0]}" LIMIT 1').fetchall()}
    return [Column(*row) for row in found if row[0] in filled]


def other_values(column: Column, rng: random.Random) -> list[str]:
    """Return expressions for another value, more plausible ones first; constraints may refuse some."""
    name = f'"{column.name}"'
    taken = f'(SELECT {name} FROM "{column.table}" WHERE {name} IS NOT NULL'
    other = f"{taken} AND {name} <> v.{name} ORDER BY hash(rowid + {rng.randrange(1 << 30)}) LIMIT 1)"
    if column.type.endswith("[]"):
        return [f"{name}[2:]", other]
    if column.type.endswith("]"):
        return [f"array_value({', '.join(_element_changed(column, rng))})"]
    if column.type in ("FLOAT", "DOUBLE"):
        return [f"coalesce({name} * {1 + rng.random() / 10}, 0.5) + 1e-6", other]
    if column.type == "BOOLEAN":
        return [f"NOT {name}"]
    if column.type.startswith("TIMESTAMP"):
        return [f"{name} + INTERVAL 1 SECOND", "'2026-01-01'"]
    if column.type == "JSON":
        return ["'{}'", "'{\"seed\": 1}'"]
    if column.type == "VARCHAR":
        allowed = [f"'{word}'" for word in ("input", "output", "train", "test", "tokens", "grid", "failed")]
        kinds = [
            "'has_distractor'",
            "'no_distractor'",
            "'counting'",
            "'insertion'",
            "'control'",
            "'embedding'",
        ]
        return [other, f"coalesce({name}, '') || 'x'", *allowed, *kinds]
    return [other, f"coalesce({name}, 0) + 1", f"{name} - 1"]


def _element_changed(column: Column, rng: random.Random) -> Iterator[str]:
    width = int(column.type[column.type.index("[") + 1 : -1])
    changed = rng.randrange(width)
    for place in range(width):
        element = f'"{column.name}"[{place + 1}]'
        yield f"({element} * 1.01 + 1e-6)::FLOAT" if place == changed else element


def statements(kind: str, column: Column, rng: random.Random, n_rows: int) -> list[list[str]]:
    """Return ways to do a damage, each a list of statements; the first that is not refused is taken."""
    table, name = f'"{column.table}"', f'"{column.name}"'
    row, second = rng.randrange(n_rows), rng.randrange(n_rows)
    if kind == "value changed":
        return [
            [f"UPDATE {table} AS v SET {name} = {value} WHERE rowid = {row}"]
            for value in other_values(column, rng)
        ]
    if kind == "vector zeroed":
        width = column.type[column.type.index("[") + 1 : -1]
        zeros = f"array_value({', '.join(['0::FLOAT'] * int(width))})"
        return [[f"UPDATE {table} SET {name} = {zeros} WHERE rowid = {row}"]]
    if kind == "row deleted":
        return [[f"DELETE FROM {table} WHERE rowid = {row}"]]
    if kind == "row duplicated":
        return [[f"INSERT INTO {table} FROM {table} WHERE rowid = {row}"]]
    exchanged = f"(SELECT o.{name} FROM {table} AS o WHERE o.rowid = {row} + {second} - v.rowid)"
    return [[f"UPDATE {table} AS v SET {name} = {exchanged} WHERE rowid IN ({row}, {second})"]]


def damaged(connection: duckdb.DuckDBPyConnection, ways: list[list[str]], table: str) -> bool:
    """Do the first damage that is not refused, in the open transaction; tell whether anything changed."""
    snapshot = f'SELECT count(*), sum(hash(t)) FROM "{table}" AS t'
    for way in ways:
        before = connection.execute(snapshot).fetchall()
        try:
            connection.execute("BEGIN TRANSACTION")
            for statement in way:
                connection.execute(statement)
            if connection.execute(snapshot).fetchall() != before:
                return True
        except duckdb.Error:
            pass
        connection.execute("ROLLBACK")
    return False


def in_tables(
    warehouse: Warehouse,
    connection: duckdb.DuckDBPyConnection,
    n_trials: int,
    rng: random.Random,
    *,
    quick: bool,
) -> Counter[str]:
    """Damage every column of every table `n_trials` times; count trials and finds by kind and group.

    `connection` is the one that a session of `warehouse` keeps.
    """
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    of_table = {table: group for group, tables in GROUPS.items() for table in tables}
    for column in columns(connection):
        n_rows = int(warehouse.value(f'SELECT count(*) FROM "{column.table}"'))
        for kind in STATEMENT_KINDS:
            is_vector = column.type.endswith("]") and not column.type.endswith("[]")
            # Rows are damaged as often as five columns.
            of_rows = kind.startswith("row")
            first = column.table not in seen
            if (kind == "vector zeroed" and not is_vector) or (of_rows and not first):
                continue
            for _ in range(n_trials * (5 if of_rows else 1)):
                ways = statements(kind, column, rng, n_rows)
                if not damaged(connection, ways, column.table):
                    continue
                group = of_table.get(column.table, column.table)
                found = any(result.n_problems for result in check(warehouse, quick=quick))
                for name in (f"{group}: {kind}", f"{group}: all", f"all: {kind}"):
                    counts[f"{name} tried"] += 1
                    counts[f"{name} found"] += found
                connection.execute("ROLLBACK")
        seen.add(column.table)
    return counts


def in_catalogue(path: Path, *, quick: bool) -> Counter[str]:
    """Drop or replace each view, macro and nullable column of a copy; count trials and finds."""
    with Warehouse.open(path) as warehouse:
        views = [
            name for (name,) in warehouse.rows("SELECT view_name FROM duckdb_views() WHERE NOT internal")
        ]
        macros = warehouse.rows(
            "SELECT function_name, function_type FROM duckdb_functions() WHERE NOT internal"
            " AND function_type LIKE '%macro'"
        )
    ways = [("view dropped", f'DROP VIEW "{view}"') for view in views]
    ways += [("view replaced", f'CREATE OR REPLACE VIEW "{view}" AS SELECT 1 AS x') for view in views]
    ways += [
        ("macro dropped", f'DROP MACRO {"TABLE " if kind == "table_macro" else ""}"{name}"')
        for name, kind in macros
    ]
    for column in columns(duckdb.connect(str(path), read_only=True)):
        ways.append(("column dropped", f'ALTER TABLE "{column.table}" DROP COLUMN "{column.name}"'))
    counts: Counter[str] = Counter()
    for kind, statement in ways:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copy(path, folder))
            with duckdb.connect(str(copy)) as connection:
                try:
                    connection.execute(statement)
                except duckdb.Error:
                    continue
            counts[f"{kind} tried"] += 1
            counts[f"{kind} found"] += _found(copy, quick=quick)
    return counts


def _found(path: Path, *, quick: bool) -> bool:
    try:
        with Warehouse.open(path) as warehouse:
            return any(result.n_problems for result in check(warehouse, quick=quick))
    except AttnRulesError:
        return True


def damage_file(path: Path, kind: str, rng: random.Random) -> None:
    """Flip a bit of a file, zero a block of it, or cut it off, somewhere behind its three headers."""
    size = path.stat().st_size
    at = rng.randrange(3 * 4096, size)
    with path.open("r+b") as file:
        if kind == "file cut off":
            file.truncate(at)
            return
        file.seek(at)
        was = file.read(1 if kind == "bit flipped" else 4096)
        file.seek(at)
        file.write(bytes([was[0] ^ 1 << rng.randrange(8)]) if kind == "bit flipped" else bytes(len(was)))


def readable(path: Path) -> dict[str, str] | None:
    """Return what every table and definition of a file holds, None where anything cannot be read."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            held = {
                table: str(
                    connection.execute(f'SELECT count(*), bit_xor(hash(t)) FROM "{table}" AS t').fetchall()
                )
                for table in sql.table_names()
            }
            views = connection.execute("SELECT view_name, sql FROM duckdb_views() ORDER BY ALL").fetchall()
            return {**held, "views": str(views)}
    except duckdb.Error:
        return None


def in_file(path: Path, n_trials: int, rng: random.Random, *, quick: bool) -> Counter[str]:
    """Damage copies of the file; count trials, finds, and commands that do not end in one line."""
    counts: Counter[str] = Counter()
    whole = readable(path)
    for kind in FILE_KINDS:
        for _ in range(n_trials):
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(shutil.copy(path, folder))
                damage_file(copy, kind, rng)
                if readable(copy) == whole:
                    counts[f"{kind} without effect"] += 1
                    continue
                counts[f"{kind} tried"] += 1
                options = ["--quick"] if quick else []
                counts[f"{kind} found"] += _ending("check", str(copy), *options).returncode != 0
                for command, *rest in COMMANDS:
                    words = [word.format(out=f"{folder}/out") for word in rest]
                    at = [command, words.pop(0)] if command == "mine" else [command]
                    ended = _ending(*at, str(copy), *words)
                    if wrong := wrong_ending(ended):
                        counts[f"{kind} wrong endings"] += 1
                        print(kind, *at, wrong, file=sys.stderr)
    return counts


def _ending(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "attnrules", *words], capture_output=True, text=True, timeout=120, check=False
    )


def wrong_ending(ended: subprocess.CompletedProcess[str]) -> str | None:
    """Return how a command ended that should have ended well or in one line, None when it did."""
    said = [line for line in ended.stderr.splitlines() if line.startswith("attnrules: ")]
    if ended.returncode not in (0, 1, 2, 3):
        return f"exit code {ended.returncode}"
    if ended.returncode and len(said) != 1 and "Usage" not in ended.stderr:
        return f"{len(said)} lines: {ended.stderr[-300:]}"
    if "unexpected" in ended.stderr or "Traceback" in ended.stderr:
        return ended.stderr[-300:]
    return None


def main() -> None:
    """Run all trials on a warehouse and print the shares found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--trials", type=int, default=2, help="per column and kind")
    parser.add_argument("--file-trials", type=int, default=50, help="per kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(given.warehouse, folder))
        with Warehouse.open(copy, writable=True) as warehouse, warehouse.session() as connection:
            counts = in_tables(warehouse, connection, given.trials, rng, quick=given.quick)
        copy = Path(shutil.copy(given.warehouse, folder))
        counts += in_catalogue(copy, quick=given.quick)
        counts += in_file(copy, given.file_trials, rng, quick=given.quick)
    print("| damage | tried | found |\n|---|---|---|")
    for name in sorted(key.removesuffix(" tried") for key in counts if key.endswith(" tried")):
        tried, found = counts[f"{name} tried"], counts[f"{name} found"]
        print(f"| {name} | {tried} | {found} ({found / tried:.0%}) |")
    for name, n in sorted(counts.items()):
        if name.endswith(("without effect", "wrong endings")):
            print(f"{name}: {n}")


if __name__ == "__main__":
    main()
