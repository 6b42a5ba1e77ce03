"""`attnrules upgrade`: a warehouse of schema version 2 becomes one of today, row by row, or stays as it is."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from attnrules import sql
from attnrules.errors import AttnRulesError, WarehouseUnavailableError
from attnrules.ingest import IngestSpec, ingest
from attnrules.sql.methods import METHODS
from attnrules.warehouse import Warehouse, catalogue, check, digests, upgrade
from attnrules.warehouse.convert import convert
from benchmarks.compare_warehouses import compare

SCHEMA = (Path(__file__).parent / "schema_v2.sql").read_text("utf-8")
D_HEAD = 3
# Columns that take only some values.
CHOICES = {
    "chunks.state": ["done"],
    "counting_counts.split": ["train", "test"],
    "distractor_examples.kind": ["no_distractor", "has_distractor"],
    "feature_descriptions.role": ["input", "output"],
    "feature_descriptions.kind": ["tokens", "imported"],
    "interventions.experiment": ["insertion", "counting"],
    "interventions.arm": ["grid", "none"],
    "runs.status": ["running", "done"],
    "saes.role": ["input", "output"],
}
# The largest and the smallest that both versions hold.
LARGEST = {
    "UTINYINT": [0, 2**8 - 1],
    "USMALLINT": [0, 2**16 - 1],
    "UINTEGER": [0, 2**31 - 1],
    "UBIGINT": [0, 2**63 - 1],
    "FLOAT": [-0.5, 3.0e38],
    "DOUBLE": [0.1, 1.7e308],
    "VARCHAR": ["", "a ' \" \n\t\x1b ▁ é"],
    "JSON": ["{}", '{"seed": 0}'],
    "BOOLEAN": [True, False],
    "TIMESTAMP": ["2024-01-01 00:00:00", "2024-01-01 00:00:00.123456"],
}


def new_v2(path: Path, d_head: int = D_HEAD) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path))
    connection.execute(SCHEMA.replace("$d_head", str(d_head)))
    return connection


def tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
    return [row[0] for row in rows]


def columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str, bool]]:
    """Name, type and whether it may be NULL."""
    rows = connection.execute(f"DESCRIBE {table}").fetchall()
    return [(name, kind, null == "YES") for name, kind, null, *_ in rows]


def value(name: str, kind: str, row: int) -> object:
    if name in CHOICES:
        return CHOICES[name][row % len(CHOICES[name])]
    if kind.endswith("]"):
        inner, _, size = kind.removesuffix("]").rpartition("[")
        return [value("", inner, row + i) for i in range(int(size) if size else row + 1)]
    return LARGEST[kind][row % 2]


def insert(connection: duckdb.DuckDBPyConnection, table: str, row: list[object]) -> None:
    connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A warehouse of version 2 with a token, a run, and nothing else."""
    path = tmp_path / "w.duckdb"
    with new_v2(path) as connection:
        insert(connection, "schema_version", [2, "0.0.1"])
        insert(connection, "vocabulary", [0, "the"])
        insert(connection, "runs", [1, "ingest", "{}", "{}", None, "2024-01-01", None, "running"])
    return path


@pytest.fixture
def extremes(old: Path) -> Path:
    """Three rows of every table: of the largest and smallest values, and of NULLs where there may be any."""
    with duckdb.connect(str(old)) as connection:
        for table in tables(connection):
            if table == "schema_version":
                continue
            connection.execute(f"DELETE FROM {table}")
            for row in range(3):
                values = [
                    None if row == 2 and null else value(f"{table}.{name}", kind, row)
                    for name, kind, null in columns(connection, table)
                ]
                insert(connection, table, [row + 1, *values[1:]] if table == "runs" else values)
    return old


def as_version_2(source: Path, path: Path) -> Path:
    """Write the warehouse `source` of today as version 2 did."""
    with duckdb.connect(str(source), read_only=True) as connection:
        ((d_head,),) = connection.execute("SELECT d_head FROM model").fetchall()
    with new_v2(path, d_head) as connection:
        names = {table: [c[0] for c in columns(connection, table)] for table in tables(connection)}
        connection.execute("ATTACH ? AS source (READ_ONLY)", [str(source)])
        for table, known in names.items():
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} SELECT {', '.join(known)} FROM source.{table}")
        connection.execute("UPDATE schema_version SET version = 2")
    return path


@pytest.fixture(scope="module")
def small_v2_once(small_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small warehouse as version 2 wrote it. Not to be written to."""
    return as_version_2(small_once, tmp_path_factory.mktemp("small_v2") / "w.duckdb")


@pytest.fixture(scope="module")
def small_upgraded(small_v2_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That one, upgraded. Not to be written to."""
    path = Path(shutil.copy(small_v2_once, tmp_path_factory.mktemp("small_upgraded") / "w.duckdb"))
    upgrade(path)
    return path


@pytest.fixture
def small_v2(small_v2_once: Path, tmp_path: Path) -> Path:
    """A private copy of it."""
    return Path(shutil.copy(small_v2_once, tmp_path / "w.duckdb"))


def contents(path: Path, only: dict[str, list[str]] | None = None) -> dict[str, tuple[list[str], list[Any]]]:
    """Of every table, the names of the columns and all rows in stored order."""
    with duckdb.connect(str(path), read_only=True) as connection:
        found = {}
        for table in only or tables(connection):
            names = only[table] if only else [column[0] for column in columns(connection, table)]
            found[table] = (names, connection.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall())
        return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_tokens_of_features_are_stored_in_their_order(small: Path) -> None:
    """Else the order hangs on threads, and two warehouses of the same rows differ."""
    stored = contents(small)
    for table, by in (("output_corpus_tokens", 4), ("rule_right_sides", 3)):
        keys = [row[:by] for row in stored[table][1]]
        of_head: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        for key in keys:
            of_head.setdefault(key[:2], []).append(key[2:])
        assert keys
        assert [*of_head] == sorted(of_head), table
        assert all(rows == sorted(rows) for rows in of_head.values()), table


def test_every_row_of_every_table_is_kept(extremes: Path) -> None:
    before = contents(extremes)
    done = upgrade(extremes, accept_problems=True)
    assert done is not None
    after = contents(extremes, {table: names for table, (names, _) in before.items()})
    assert before.pop("schema_version")[1] == [(2, "0.0.1")]
    assert after.pop("schema_version")[1] == [(sql.SCHEMA_VERSION, "0.0.1")]
    *runs, upgraded = after.pop("runs")[1]
    assert runs == before.pop("runs")[1]
    assert upgraded[1:3] == ("upgrade", '{"from_version": 2}')
    assert set(before.pop("methods")[1]) < set(after.pop("methods")[1])
    assert after == before
    assert all(done.rows[table] == len(rows) == 3 for table, (_, rows) in after.items())
    Warehouse.open(extremes).close()


def test_columns_that_version_2_lacks_are_not_known(extremes: Path) -> None:
    before = contents(extremes)
    upgrade(extremes, accept_problems=True)
    with duckdb.connect(str(extremes), read_only=True) as connection:
        # What today's methods are is known whatever the old file says.
        connection.execute("SET VARIABLE today = $today", {"today": [*METHODS]})
        for table in before:
            old = "NOT list_contains(getvariable('today'), method)" if table == "methods" else "true"
            added = [name for name, _, _ in columns(connection, table) if name not in before[table][0]]
            for name in added:
                # Every SAE read one head then.
                old = "through_head IS DISTINCT FROM head" if name == "through_head" else old
                known = connection.execute(f"SELECT count({name}) FROM {table} WHERE {old}").fetchall()
                assert known == [(0,)], name


def test_a_mined_warehouse_has_the_same_metrics_and_passes_its_checks(
    small_once: Path, small_upgraded: Path
) -> None:
    ask = "FROM rule_metrics ORDER BY ALL"
    with Warehouse.open(small_once) as mined, Warehouse.open(small_upgraded) as upgraded:
        assert upgraded.rows(ask) == mined.rows(ask)
        assert upgraded.value("SELECT count(*) FROM rule_metrics") > 1000
        assert [result.name for result in check(upgraded) if result.n_problems] == []


def test_features_are_described_as_today(small_once: Path, small_v2: Path) -> None:
    with duckdb.connect(str(small_v2)) as connection:
        connection.execute("UPDATE output_features SET description = 'as before'")
    upgrade(small_v2)
    ask = "SELECT layer, head, feature, description FROM output_features ORDER BY ALL"
    with Warehouse.open(small_once) as mined, Warehouse.open(small_v2) as upgraded:
        assert upgraded.rows(ask) == mined.rows(ask)


def test_an_unfinished_ingest_stays_unfinished(small_v2: Path) -> None:
    with duckdb.connect(str(small_v2)) as connection:
        connection.execute("UPDATE heads SET kept_attention_mass = NULL")
    upgrade(small_v2)
    with Warehouse.open(small_v2) as upgraded:
        assert upgraded.value("SELECT count(kept_attention_mass) FROM heads") == 0


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("saes", "SET source = source", "how the model and"),
        ("corpus", "SET source = 'c.txt'", "which files of c.txt were read"),
        ("vocabulary", "SET token = '▁▁' WHERE token_id = 1", "the text of 1 tokens"),
        ("rules", "SET method = 'importance'", "whether the rules by importance of"),
    ],
)
def test_what_is_not_known_is_said(small_v2: Path, table: str, change: str, words: str) -> None:
    with duckdb.connect(str(small_v2)) as connection:
        connection.execute(f"UPDATE {table} {change}")
    done = upgrade(small_v2, accept_problems=True)
    assert done is not None
    assert len([said for said in done.not_known if said.startswith(words)]) == 1


def test_counting_rules_that_were_not_compared_with_the_position_are_said(extremes: Path) -> None:
    done = upgrade(extremes, accept_problems=True)
    assert done is not None
    words = (
        "whether 3 counting rules beat the position in the sequence; attnrules mine counting finds them anew"
    )
    assert words in done.not_known


# What the development of version 3 has added, latest first.
EARLIER = {
    "corpus_files": ["DROP TABLE corpus_files"],
    "token_bytes": ["ALTER TABLE vocabulary DROP COLUMN token_bytes"],
    "lines": ["ALTER TABLE corpus DROP COLUMN lines", "ALTER TABLE corpus DROP COLUMN special_tokens"],
    "position": [
        f"ALTER TABLE counting_rules DROP COLUMN position_{name}"
        for name in ("threshold", "precision", "recall", "f1", "information", "gain", "gain_low", "gain_high")
    ],
    "best_lists": ["DROP VIEW best_lists"],
    "nothing": [],
}
# What version 5 has added.
AS_VERSION_4 = [
    "DROP TABLE stated_tests",
    "DROP TABLE stated_trials",
    "UPDATE schema_version SET version = 4",
]
# What version 4 has added.
AS_VERSION_3 = [
    *AS_VERSION_4,
    "DROP TABLE feature_heads",
    "DELETE FROM digests WHERE table_name = 'feature_heads'",
    *(f"ALTER TABLE {name} DROP COLUMN through_head" for name in ("rules", "distractors", "counting_rules")),
    "UPDATE schema_version SET version = 3",
]


@pytest.mark.parametrize("statements", EARLIER.values(), ids=EARLIER)
def test_a_warehouse_of_an_earlier_version_3_is_upgraded(small: Path, statements: list[str]) -> None:
    ask = "SELECT count(*), sum(score) FROM rules"
    with duckdb.connect(str(small)) as connection:
        before = connection.execute(ask).fetchall()
        shares = connection.execute(
            "SELECT COLUMNS(* EXCLUDE encoder) FROM feature_heads ORDER BY ALL"
        ).fetchall()
        for statement in [*AS_VERSION_3, *statements]:
            connection.execute(statement)
        # Digests as they were when the tables had fewer columns.
        earlier = Warehouse(connection, small)
        for table in ("vocabulary", "corpus", "counting_rules", "rules", "distractors", "schema_version"):
            digests.restamp(earlier, table)
    with pytest.raises(WarehouseUnavailableError, match=f"`attnrules upgrade {small}`"):
        Warehouse.open(small)
    done = upgrade(small)
    assert done is not None
    assert done.kept == small.with_name("planted.v3.duckdb")
    with Warehouse.open(small) as warehouse:
        assert warehouse.rows(ask) == before
        assert warehouse.rows("SELECT COLUMNS(* EXCLUDE encoder) FROM feature_heads ORDER BY ALL") == shares
        assert warehouse.value("SELECT count(*) FROM rules WHERE through_head IS DISTINCT FROM head") == 0
        assert [result.name for result in check(warehouse) if result.n_problems] == []


def test_a_warehouse_of_version_4_is_upgraded(small: Path) -> None:
    with duckdb.connect(str(small)) as connection:
        for statement in AS_VERSION_4:
            connection.execute(statement)
        digests.restamp(Warehouse(connection, small), "schema_version")
    before = contents(small)
    done = upgrade(small)
    assert done is not None
    assert done.version == 4
    after = contents(small)
    assert (after.pop("stated_tests")[1], after.pop("stated_trials")[1]) == ([], [])
    for table in ("schema_version", "runs", "digests"):
        assert len(after.pop(table)[1]) >= len(before.pop(table)[1])
    assert after == before
    with Warehouse.open(small) as warehouse:
        assert [result.name for result in check(warehouse) if result.n_problems] == []


def test_damage_that_digests_tell_is_not_blessed(small: Path) -> None:
    with duckdb.connect(str(small)) as connection:
        connection.execute("UPDATE rules SET score = score + 0.001 WHERE rowid = 7")
        connection.execute("DROP VIEW best_lists")
    before = digest(small)
    with pytest.raises(
        AttnRulesError, match=r"does not pass its checks: rules, L\dH\d\.\d+: its \d+ rows are"
    ):
        upgrade(small)
    assert digest(small) == before
    done = upgrade(small, accept_problems=True)
    assert done is not None
    with Warehouse.open(small) as warehouse:
        (arguments,) = warehouse.rows("SELECT arguments FROM runs WHERE command = 'upgrade'")
        assert done.problems[0] in arguments[0]


def test_problems_are_refused_and_nothing_changes(attnrules: Callable[..., Any], extremes: Path) -> None:
    before = digest(extremes)
    outcome = attnrules("upgrade", extremes)
    assert outcome.code == 1
    assert f"{extremes}: does not pass its checks: " in outcome.err
    assert digest(extremes) == before
    assert [p.name for p in extremes.parent.iterdir()] == ["w.duckdb"]


def test_a_damaged_file_is_one_line_and_nothing_changes(
    attnrules: Callable[..., Any], small_v2: Path
) -> None:
    bytes_ = bytearray(small_v2.read_bytes())
    # In every block; the first three hold headers.
    for at in range(3 * 4096 + 100_000, len(bytes_), 262_144):
        bytes_[at] ^= 0xFF
    small_v2.write_bytes(bytes_)
    before = digest(small_v2)
    outcome = attnrules("upgrade", small_v2)
    assert outcome.code != 0
    assert outcome.err.count("\n") == 1
    assert "unexpected" not in outcome.err
    assert digest(small_v2) == before
    assert [p.name for p in small_v2.parent.iterdir()] == ["w.duckdb"]


def test_the_old_file_is_kept_under_its_version(attnrules: Callable[..., Any], old: Path) -> None:
    before = digest(old)
    outcome = attnrules("upgrade", old)
    kept = old.with_name("w.v2.duckdb")
    assert outcome.code == 0
    assert f"the old file is {kept}" in outcome.out
    assert digest(kept) == before
    assert sorted(p.name for p in old.parent.iterdir()) == ["w.duckdb", "w.v2.duckdb"]


def test_the_old_file_goes_with_no_keep(attnrules: Callable[..., Any], old: Path) -> None:
    assert attnrules("upgrade", old, "--no-keep").code == 0
    assert [p.name for p in old.parent.iterdir()] == ["w.duckdb"]
    Warehouse.open(old).close()


def test_a_warehouse_of_today_stays_as_it_is(attnrules: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    Warehouse.create(path, d_head=D_HEAD).close()
    before = digest(path)
    outcome = attnrules("upgrade", path)
    assert (outcome.code, digest(path)) == (0, before)
    assert "already" in outcome.out
    assert [p.name for p in tmp_path.iterdir()] == ["w.duckdb"]


def test_opening_an_old_warehouse_names_the_command(attnrules: Callable[..., Any], old: Path) -> None:
    outcome = attnrules("info", old)
    assert outcome.code == 3
    assert f"run `attnrules upgrade {old}`" in outcome.err


class StopError(Exception):
    """What ends an upgrade in the tests."""


@pytest.mark.parametrize("nth", [0, 27, 40, 58])
def test_an_upgrade_that_is_broken_off_leaves_the_old_file(old: Path, nth: int) -> None:
    before = digest(old)
    told: list[str] = []

    def stop(what: str, n_rows: int) -> None:
        told.append(f"{what} {n_rows}")
        if len(told) > nth:
            raise StopError

    with pytest.raises(StopError):
        upgrade(old, report=stop)
    assert digest(old) == before
    assert [p.name for p in old.parent.iterdir()] == ["w.duckdb"]


def test_an_upgrade_that_is_killed_leaves_the_old_file_and_can_be_run_again(old: Path) -> None:
    before = digest(old)
    script = f"""
import os, signal
from pathlib import Path
from attnrules.warehouse import upgrade
upgrade(Path({str(old)!r}), report=lambda what, n: what == 'copying rules' and os.kill(os.getpid(), signal.SIGKILL))
"""
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert digest(old) == before
    assert upgrade(old) is not None
    Warehouse.open(old).close()


def test_what_a_killed_process_left_in_the_log_is_upgraded_too(old: Path) -> None:
    script = f"""
import duckdb, os
connection = duckdb.connect({str(old)!r})
connection.execute("INSERT INTO vocabulary VALUES (7, 'from the log')")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert old.with_name("w.duckdb.wal").exists()
    upgrade(old)
    assert not old.with_name("w.duckdb.wal").exists()
    with Warehouse.open(old) as warehouse:
        assert warehouse.value("SELECT token FROM vocabulary WHERE token_id = 7") == "from the log"


def test_a_number_that_does_not_fit_is_refused_by_table(old: Path) -> None:
    with duckdb.connect(str(old)) as connection:
        connection.execute("INSERT INTO tokens VALUES (4000000000, 1, 1)")
    before = digest(old)
    with pytest.raises(AttnRulesError, match="the table tokens cannot be copied"):
        upgrade(old)
    assert digest(old) == before


@pytest.mark.parametrize(
    ("version", "words"), [(1, "cannot be upgraded"), (99, "upgrade attnrules to read it")]
)
def test_versions_that_cannot_be_read_are_refused(old: Path, version: int, words: str) -> None:
    with duckdb.connect(str(old)) as connection:
        connection.execute("UPDATE schema_version SET version = ?", [version])
    with pytest.raises(WarehouseUnavailableError, match=words):
        upgrade(old)


def test_a_database_that_is_no_warehouse_is_refused(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    with pytest.raises(WarehouseUnavailableError, match="not an attnrules warehouse"):
        upgrade(tmp_path / "x.duckdb")


def test_a_name_that_is_taken_is_refused(old: Path) -> None:
    old.with_name("w.v2.duckdb").write_text("mine")
    with pytest.raises(AttnRulesError, match=r"w\.v2\.duckdb: exists"):
        upgrade(old)
    assert old.with_name("w.v2.duckdb").read_text() == "mine"


def test_a_view_in_place_of_a_table_is_not_read(old: Path) -> None:
    with duckdb.connect(str(old)) as connection:
        connection.execute("DROP TABLE rules")
        connection.execute("CREATE VIEW rules AS SELECT 1 AS layer")
    with pytest.raises(
        WarehouseUnavailableError, match="the table rules of an attnrules warehouse is missing"
    ):
        upgrade(old)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE TABLE notes AS SELECT 'mine' AS note", "table 'notes'"),
        ("CREATE VIEW notes AS SELECT 1 AS x", "view 'notes'"),
        ("CREATE MACRO notes(x) AS x", "macro 'notes'"),
        ("CREATE SCHEMA notes", "schema 'notes'"),
        ("ALTER TABLE vocabulary ADD COLUMN note VARCHAR", "column 'vocabulary.note'"),
    ],
)
def test_what_is_the_users_own_is_named_and_never_lost(
    attnrules: Callable[..., Any], old: Path, statement: str, what: str
) -> None:
    with duckdb.connect(str(old)) as connection:
        connection.execute(statement)
    before = digest(old)
    refused = attnrules("upgrade", old, "--no-keep")
    assert f"would be lost with the old file, such as the {what}; leave --no-keep out" in refused.err
    assert digest(old) == before
    assert f"not copied, no part of a warehouse: {what}" in attnrules("upgrade", old).out
    assert digest(old.with_name("w.v2.duckdb")) == before


def test_a_full_disk_is_foreseen(attnrules: Callable[..., Any], old: Path) -> None:
    # A file with a hole: larger than what is free, and no larger on the disk.
    size = shutil.disk_usage(old.parent).free + 1
    os.truncate(old, size)
    outcome = attnrules("upgrade", old)
    assert outcome.code == 1
    assert re.search(r"the new file needs about [\d,.]+ GB in .*, where [\d,.]+ GB are free", outcome.err)
    assert old.stat().st_size == size


def test_a_file_system_without_links(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    before = digest(old)
    monkeypatch.setattr(os, "link", link)
    upgrade(old)
    assert digest(old.with_name("w.v2.duckdb")) == before
    assert sorted(p.name for p in old.parent.iterdir()) == ["w.duckdb", "w.v2.duckdb"]
    Warehouse.open(old).close()


def test_a_file_that_is_replaced_meanwhile_is_left(old: Path) -> None:
    def replace(what: str, n_rows: int) -> None:
        del n_rows
        if what == "checking the new file":
            other = old.with_name("other")
            other.write_text("another's")
            other.replace(old)

    with pytest.raises(AttnRulesError, match="was removed, renamed or replaced meanwhile"):
        upgrade(old, report=replace)
    assert [(p.name, p.read_text()) for p in old.parent.iterdir()] == [("w.duckdb", "another's")]


def test_text_files_go_on_being_read_by_line(planted_spec: IngestSpec, tmp_path: Path) -> None:
    text = tmp_path / "corpus.txt"
    lines = Path(planted_spec.corpus.source).read_text("utf-8").splitlines()
    text.write_text("\n".join(json.loads(line)["text"] for line in lines), "utf-8")
    by_line = replace(planted_spec, corpus=replace(planted_spec.corpus, source=str(text), lines=True))
    ingest(tmp_path / "today.duckdb", replace(by_line, n_sequences=40, chunk_size=20))
    ingest(tmp_path / "begun.duckdb", replace(by_line, n_sequences=20, chunk_size=20))
    path = as_version_2(tmp_path / "begun.duckdb", tmp_path / "w.duckdb")
    upgrade(path)
    ingest(path, replace(by_line, n_sequences=40, corpus=replace(by_line.corpus, lines=False)))
    ask = "FROM tokens ORDER BY ALL"
    with Warehouse.open(tmp_path / "today.duckdb") as today, Warehouse.open(path) as upgraded:
        assert upgraded.rows(ask) == today.rows(ask)
        assert [result.name for result in check(upgraded) if result.n_problems] == []


@pytest.mark.parametrize(
    ("names", "n_first", "refused"),
    [
        (("test", "train"), 5, r"sequence 0 again.*of every split of a folder"),
        (("train", "validation"), 5, r"sequence 8 again.*of every split of a folder"),
        (("train", "validation"), 400, None),
    ],
)
def test_a_folder_of_which_every_split_was_read_is_refused_where_one_split_differs(
    planted_spec: IngestSpec, tmp_path: Path, names: tuple[str, str], n_first: int, refused: str | None
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    records = Path(planted_spec.corpus.source).read_text("utf-8").splitlines(keepends=True)
    # Without a split in their names both files are read, as version 2 read them whatever they were called.
    files = {
        folder / f"{part}.jsonl": folder / f"{name}.jsonl" for part, name in zip("ab", names, strict=True)
    }
    for file, some in zip(files, (records[:n_first], records[n_first:]), strict=True):
        file.write_text("".join(some), "utf-8")
    corpus = replace(planted_spec.corpus, source=str(folder))
    spec = replace(planted_spec, corpus=corpus, n_sequences=20, layers=(0,), heads=(0,))
    ingest(tmp_path / "today.duckdb", spec)
    for file, named in files.items():
        file.rename(named)
    path = as_version_2(tmp_path / "today.duckdb", tmp_path / "w.duckdb")
    upgrade(path)
    held = path.read_bytes()
    more = replace(spec, n_sequences=30, heads=(0, 1))
    if refused is None:
        assert ingest(path, more).n_sequences == 30
        return
    with pytest.raises(AttnRulesError, match=refused):
        ingest(path, more)
    assert path.read_bytes() == held


def test_special_tokens_go_on_being_read_as_before(
    small_spec: IngestSpec, small_upgraded: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(small_upgraded, tmp_path / "w.duckdb"))
    as_text = replace(small_spec, corpus=replace(small_spec.corpus, special_tokens="text"))
    with pytest.raises(AttnRulesError, match="was ingested with --special-tokens token, not text"):
        ingest(path, as_text)


def test_a_warehouse_of_today_with_foreign_definitions_is_written_anew(small: Path) -> None:
    with duckdb.connect(str(small)) as connection:
        connection.execute("CREATE MACRO isfinite(x) AS version() IS NOT NULL")
        connection.execute("CREATE OR REPLACE VIEW rule_texts AS SELECT 1 AS layer")
        before = connection.execute("SELECT count(*) FROM rules").fetchall()
    with pytest.raises(WarehouseUnavailableError, match="attnrules upgrade"):
        Warehouse.open(small)
    upgrade(small)
    with Warehouse.open(small) as warehouse:
        assert warehouse.rows("SELECT count(*) FROM rule_texts") == before


def test_a_link_stays_a_link(old: Path) -> None:
    link = old.with_name("link.duckdb")
    link.symlink_to(old)
    upgrade(link)
    assert link.is_symlink()
    Warehouse.open(link).close()


def test_the_mode_of_the_file_is_kept(old: Path) -> None:
    old.chmod(0o640)
    upgrade(old)
    assert old.stat().st_mode & 0o777 == 0o640


def test_every_upgrade_statement_fills_a_table() -> None:
    assert set(sql.upgrade_statements()) <= set(sql.table_names())


def test_version_2_in_the_tests_is_the_one_that_was_written(old: Path) -> None:
    assert len(contents(old)) == 30


@pytest.fixture(scope="module")
def old_lake_once(small_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of version 4, with a macro of another text than today's. Not to be written to."""
    lake = tmp_path_factory.mktemp("old_lake") / "lake"
    convert(small_once, lake)
    with duckdb.connect(str(lake / "catalogue.duckdb")) as connection:
        for statement in [*AS_VERSION_4, "CREATE OR REPLACE MACRO joined_text(parts) AS NULL"]:
            connection.execute(statement)
        digests.restamp(Warehouse(connection, lake), "schema_version")
    return lake


@pytest.fixture
def old_lake(old_lake_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(old_lake_once, tmp_path / "lake"))


def everything(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest(path) for path in folder.rglob("*") if path.is_file()}


def test_a_lake_is_upgraded_and_its_files_are_not_touched(
    attnrules: Callable[..., Any], old_lake: Path, small: Path, tmp_path: Path
) -> None:
    before = everything(old_lake)
    assert f"run `attnrules upgrade {old_lake}`" in attnrules("info", old_lake).err
    outcome = attnrules("upgrade", old_lake)
    assert outcome.code == 0, outcome.err
    after = everything(old_lake)
    assert after.pop("catalogue.v4.duckdb") == before.pop("catalogue.duckdb")
    del after["catalogue.duckdb"]
    assert after == before
    assert sorted(path.name for path in old_lake.iterdir()) == [
        *("catalogue.duckdb", "catalogue.v4.duckdb", "facts", "results"),
    ]
    with Warehouse.open(old_lake) as warehouse:
        assert [result.name for result in check(warehouse) if result.n_problems] == []
        text = warehouse.value("SELECT sql FROM duckdb_views() WHERE view_name = 'tokens'")
    assert f"{old_lake}/facts/tokens/seqs-" in text
    convert(old_lake, tmp_path / "back.duckdb")
    assert compare(small, tmp_path / "back.duckdb") == []


def test_a_lake_of_today_stays_as_it_is(attnrules: Callable[..., Any], old_lake: Path) -> None:
    assert attnrules("upgrade", old_lake, "--no-keep").code == 0
    before = everything(old_lake)
    assert "catalogue.v4.duckdb" not in before
    assert "already" in attnrules("upgrade", old_lake).out
    assert everything(old_lake) == before


@pytest.fixture
def lake_of_before(old_lake: Path) -> Path:
    """A lake of before the values behind predictions were files, which is upgraded to nothing else."""
    upgrade(old_lake, keep=False)
    with duckdb.connect(str(old_lake / "catalogue.duckdb")) as connection:
        connection.execute("CREATE TABLE scores AS FROM rule_scores ORDER BY ALL DESC")
        connection.execute("DROP VIEW rule_scores")
        connection.execute("ALTER TABLE scores RENAME TO rule_scores")
    shutil.rmtree(old_lake / "results")
    return old_lake


def test_values_behind_predictions_become_files(lake_of_before: Path, small: Path, tmp_path: Path) -> None:
    before = everything(lake_of_before)
    done = upgrade(lake_of_before)
    assert done is not None
    assert done.kept == lake_of_before / f"catalogue.v{sql.SCHEMA_VERSION}.duckdb"
    assert done.problems == []
    after = everything(lake_of_before)
    scores = [name for name in after if name.startswith("results/rule_scores/layer=")]
    assert len(scores) == 3
    assert after.pop(done.kept.name) == before.pop("catalogue.duckdb")
    for name in (*scores, "catalogue.duckdb"):
        del after[name]
    assert after == before
    assert not [path for path in lake_of_before.rglob("*") if path.is_symlink()]
    assert upgrade(lake_of_before) is None
    convert(lake_of_before, tmp_path / "back.duckdb")
    assert compare(small, tmp_path / "back.duckdb") == []


def test_values_behind_predictions_that_were_damaged_are_not_blessed(lake_of_before: Path) -> None:
    with duckdb.connect(str(lake_of_before / "catalogue.duckdb")) as connection:
        connection.execute("UPDATE rule_scores SET prediction = prediction + 1 WHERE seq_id = 3")
    before = everything(lake_of_before)
    with pytest.raises(AttnRulesError, match="does not pass its checks: rule_scores, "):
        upgrade(lake_of_before)
    assert everything(lake_of_before) == before
    assert upgrade(lake_of_before, accept_problems=True) is not None


@pytest.mark.parametrize("step", ["copying rules", "checking the new file"])
def test_an_upgrade_of_a_lake_that_is_killed_can_be_run_again(old_lake: Path, step: str) -> None:
    before = everything(old_lake)
    script = f"""
import os, signal
from pathlib import Path
from attnrules.warehouse import upgrade
upgrade(Path({str(old_lake)!r}), report=lambda what, n: what == {step!r} and os.kill(os.getpid(), signal.SIGKILL))
"""
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert before.items() <= everything(old_lake).items()
    assert upgrade(old_lake) is not None
    with Warehouse.open(old_lake, writable=True) as warehouse:
        warehouse.compact()
    assert not [path for path in old_lake.iterdir() if path.name.startswith(".")]


def test_damage_in_a_file_of_a_lake_is_not_blessed(old_lake: Path) -> None:
    (file,) = (old_lake / "facts/tokens").iterdir()
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t AS SELECT * REPLACE (token_id + 1 AS token_id) FROM '{file}'")
        connection.execute(f"COPY t TO '{file}'")
    before = everything(old_lake)
    with pytest.raises(AttnRulesError, match="does not pass its checks: tokens, "):
        upgrade(old_lake)
    assert everything(old_lake) == before


def test_a_lake_that_cannot_be_upgraded_now_is_one_line(
    attnrules: Callable[..., Any], old_lake: Path
) -> None:
    (old_lake / "tasks").mkdir()
    outcome = attnrules("upgrade", old_lake)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "holds unfinished tasks" in outcome.err
    with duckdb.connect(str(old_lake / "catalogue.duckdb")) as connection:
        connection.execute("CREATE OR REPLACE VIEW tokens AS SELECT 1 AS seq_id, 2 AS pos, 3 AS token_id")
    outcome = attnrules("upgrade", old_lake)
    assert (outcome.code, outcome.err.count("\n")) == (3, 1)
    assert "the view tokens is not a list of files of a lake" in outcome.err


@pytest.mark.parametrize("table", sorted(digests.IN_FILES))
def test_what_is_in_files_has_the_columns_that_it_had_when_lakes_began(table: str) -> None:
    """An upgrade of a lake leaves its files as they are: whoever adds a column has to write them anew."""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA.replace("$d_head", "1"))
        known = [name for name, *_ in columns(connection, table)]
    assert [*catalogue.columns_of(table)] == known
