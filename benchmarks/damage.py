"""What share of damage `attnrules check` finds: python -m benchmarks.damage [WAREHOUSE] [--trials 100]

Each trial does one damage to a copy and undoes it: a value changed to another plausible one, a vector zeroed,
a row deleted or duplicated, values of two rows exchanged, a definition dropped or replaced, a column dropped,
a bit flipped in the file, a block of it zeroed, the file cut off. Damage that changes nothing is not counted.
Without WAREHOUSE a small one is made of the planted model of the tests, with rules, absence and counting.
Prints a row of a Markdown table as soon as a kind of damage is through; what was missed goes to stderr at
once. A damaged file also meets one of the other commands each time, which must end well or in one line.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import duckdb

from attnrules import sql
from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.queries.absence import AbsenceSpec, mine_absence
from attnrules.queries.counting import CountingSpec, mine_counting
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse, check
from tests.planted import plant

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
STATEMENT_KINDS = (
    "value changed", "vector zeroed", "row deleted", "row duplicated", "values exchanged",
    "rows deleted with their digest",
)  # fmt: skip
FILE_KINDS = ("bit flipped", "file cut off", "block zeroed")
COMMANDS = (
    ("info",), ("describe",), ("query", "FROM rule_metrics_by_head"),
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
    if kind == "rows deleted with their digest":
        return [_part_deleted(table, scope, row) for scope in (("layer", "head", "feature"), ("layer",), ())]
    if kind == "row duplicated":
        return [[f"INSERT INTO {table} FROM {table} WHERE rowid = {row}"]]
    exchanged = f"(SELECT o.{name} FROM {table} AS o WHERE o.rowid = {row} + {second} - v.rowid)"
    return [[f"UPDATE {table} AS v SET {name} = {exchanged} WHERE rowid IN ({row}, {second})"]]


def _part_deleted(table: str, scope: tuple[str, ...], seed: int) -> list[str]:
    """Return statements that forget a part of a table as if it had never been written."""
    name = table.strip('"')
    digest = f"SELECT rowid FROM digests WHERE table_name = '{name}' ORDER BY hash(rowid + {seed}) LIMIT 1"
    same = [f"{table}.{column} IS NOT DISTINCT FROM d.{column}" for column in scope]
    return [
        f"DELETE FROM {table} USING digests AS d WHERE {' AND '.join([f'd.rowid = ({digest})', *same])}",
        f"DELETE FROM digests WHERE rowid = ({digest})",
    ]


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


@dataclass(frozen=True)
class Trial:
    """A damage that was done: to which group of tables, to what, and whether it was found."""

    group: str
    what: str
    found: bool


def in_tables(
    warehouse: Warehouse,
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    rng: random.Random,
    *,
    quick: bool,
) -> Iterator[Trial]:
    """Damage one column or table after the other in random order, without end.

    `connection` is the one that a session of `warehouse` keeps.
    """
    of_table = {table: group for group, tables in GROUPS.items() for table in tables}
    for column in _shuffled(connection, kind, rng):
        n_rows = int(warehouse.value(f'SELECT count(*) FROM "{column.table}"'))
        if damaged(connection, statements(kind, column, rng, n_rows), column.table):
            found = any(result.n_problems for result in check(warehouse, quick=quick))
            connection.execute("ROLLBACK")
            what = column.table if kind.startswith("row") else f"{column.table}.{column.name}"
            yield Trial(of_table.get(column.table, column.table), what, found)


def _shuffled(connection: duckdb.DuckDBPyConnection, kind: str, rng: random.Random) -> Iterator[Column]:
    """Yield what a kind of damage is tried on: every column or table once, then again, a hundred times."""
    tried = columns(connection)
    if kind == "vector zeroed":
        tried = [column for column in tried if column.type.endswith("]") and column.type[-2] != "["]
    if kind.startswith("row"):
        tried = list({column.table: column for column in tried}.values())
    for _ in range(100):
        rng.shuffle(tried)
        yield from tried


def in_catalogue(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return by kind what may be dropped or replaced: (name, statement)."""
    with Warehouse.open(path) as warehouse, warehouse.session() as connection:
        views = [
            name for (name,) in warehouse.rows("SELECT view_name FROM duckdb_views() WHERE NOT internal")
        ]
        macros = warehouse.rows(
            "SELECT DISTINCT function_name, function_type FROM duckdb_functions() WHERE NOT internal"
            " AND function_type LIKE '%macro'"
        )
        dropped = [
            (f"{c.table}.{c.name}", f'ALTER TABLE "{c.table}" DROP COLUMN "{c.name}"')
            for c in columns(connection)
        ]
    return {
        "view dropped": [(view, f'DROP VIEW "{view}"') for view in views],
        "view replaced": [(view, f'CREATE OR REPLACE VIEW "{view}" AS SELECT 1 AS x') for view in views],
        "macro dropped": [
            (name, f'DROP MACRO {"TABLE " if kind == "table_macro" else ""}"{name}"') for name, kind in macros
        ],
        "column dropped": dropped,
        "comment changed": [(f"VIEW {view}", f"COMMENT ON VIEW \"{view}\" IS 'x'") for view in views],
    }


def in_definitions(
    path: Path, ways: list[tuple[str, str]], rng: random.Random, *, quick: bool
) -> Iterator[Trial]:
    """Do each damage, in random order, to a copy of its own."""
    for name, statement in rng.sample(ways, len(ways)):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copy(path, folder))
            with duckdb.connect(str(copy)) as connection:
                try:
                    connection.execute(statement)
                except duckdb.Error:
                    continue
            yield Trial("definitions", name, _found(copy, quick=quick))


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


def in_file(path: Path, kind: str, rng: random.Random, *, quick: bool) -> Iterator[Trial]:
    """Damage copies of the file, without end; say on stderr when a command does not end in one line."""
    whole = readable(path)
    for number in range(sys.maxsize):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copy(path, folder))
            damage_file(copy, kind, rng)
            if readable(copy) == whole:
                continue
            name, *rest = COMMANDS[number % len(COMMANDS)]
            words = [word.format(out=f"{folder}/out") for word in rest]
            at = [name, words.pop(0)] if name == "mine" else [name]
            checked = _ending("check", str(copy), *(["--quick"] if quick else []))
            for ended in (checked, _ending(*at, str(copy), *words)):
                if wrong := wrong_ending(ended):
                    print(f"wrong ending: {kind}, {' '.join(ended.args[3:])}: {wrong}", file=sys.stderr)
            yield Trial("file", f"trial {number}", checked.returncode != 0)


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


def small_warehouse(folder: Path) -> Path:
    """Make a warehouse of the planted model, mined for rules, absence and counting."""
    planted = plant(folder / "planted")
    path = folder / "small.duckdb"
    spec = IngestSpec(
        model=str(planted.model_dir),
        input_sae=str(planted.input_sae_dir),
        output_sae=str(planted.output_sae_dir),
        corpus=CorpusSpec(str(planted.corpus_path), seq_len=planted.seq_len),
        layers=(0,),
        heads=(1, 2),
        n_sequences=200,
        chunk_size=50,
        device="cpu",
    )
    ingest(path, spec)
    with Warehouse.open(path, writable=True) as warehouse:
        skipgrams = SkipgramSpec(method="weighted", n_features=2, examples_per_split=5, min_count=0)
        mine_skipgrams(warehouse, skipgrams)
        mine_absence(warehouse, AbsenceSpec(max_examples=5))
        mine_counting(warehouse, CountingSpec(min_support=1))
    return path


def report(kind: str, trials: Iterable[Trial], groups: Counter[tuple[str, bool]]) -> None:
    """Do the trials of a kind and print its row: tried, found, and what was missed."""
    n_tried, missed = 0, []
    for trial in trials:
        n_tried += 1
        groups[trial.group, trial.found] += 1
        if not trial.found:
            missed.append(trial.what)
            print(f"missed: {kind}, {trial.what}", file=sys.stderr, flush=True)
    names = ", ".join(f"{name} ({n})" for name, n in sorted(Counter(missed).items())) or "-"
    print(f"| {kind} | {n_tried} | {n_tried - len(missed)} | {names} |", flush=True)


def try_all(path: Path, folder: Path, given: argparse.Namespace) -> None:
    """Do `given.trials` trials of each kind, of damage to the file `given.file_trials`."""
    rng = random.Random(given.seed)
    groups: Counter[tuple[str, bool]] = Counter()
    print("| damage | trials | found | missed |\n|---|---|---|---|", flush=True)
    copy = Path(shutil.copy(path, folder / "copy.duckdb"))
    with Warehouse.open(copy, writable=True) as warehouse, warehouse.session() as connection:
        for kind in STATEMENT_KINDS:
            trials = in_tables(warehouse, connection, kind, rng, quick=given.quick)
            report(kind, islice(trials, given.trials), groups)
    for kind, ways in in_catalogue(path).items():
        report(kind, islice(in_definitions(path, ways, rng, quick=given.quick), given.trials), groups)
    for kind in FILE_KINDS:
        report(kind, islice(in_file(path, kind, rng, quick=given.quick), given.file_trials), groups)
    print("\n| damage to | trials | found |\n|---|---|---|")
    for group in dict.fromkeys(name for name, _ in groups):
        n_found, n_missed = groups[group, True], groups[group, False]
        print(f"| {group} | {n_found + n_missed} | {n_found} |")


def main() -> None:
    """Run all trials and print the shares found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", type=Path, nargs="?")
    parser.add_argument("--trials", type=int, default=100, help="of each kind")
    parser.add_argument("--file-trials", type=int, default=25, help="of each kind of damage to the file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="try `check --quick`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try_all(given.warehouse or small_warehouse(folder), folder, given)


if __name__ == "__main__":
    main()
