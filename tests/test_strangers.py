"""A warehouse from a stranger: what is in it besides data is compared with sql/ before any of it can run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from attnrules.errors import WarehouseUnavailableError
from attnrules.warehouse import Warehouse


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "w.duckdb"
    Warehouse.create(path, d_head=4).close()
    return path


@pytest.fixture
def warehouse(empty: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty, tmp_path / "w.duckdb"))


def changed(path: Path, *statements: str) -> Path:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


CHANGES = {
    "a view in place of schema_version": (
        ["DROP TABLE schema_version", "CREATE VIEW schema_version AS SELECT 3 AS version, version() AS created_by"],
        "schema_version is a view",
    ),
    "a view in place of a table": (
        ["DROP TABLE runs", "CREATE VIEW runs AS SELECT 1 AS run_id, 'x' AS command"],
        "runs is a view, not the table of an attnrules warehouse",
    ),
    "a table in place of a view": (
        ["DROP VIEW rule_texts", "CREATE TABLE rule_texts AS SELECT 1 AS layer"],
        "rule_texts is a table, not the view of an attnrules warehouse",
    ),
    "a missing table": (["DROP TABLE interventions"], "the table interventions of an attnrules warehouse is missing"),
    "a missing view": (["DROP VIEW feature_summary"], "the view feature_summary of an attnrules warehouse is missing"),
    "a missing macro": (["DROP MACRO token_text"], "the macro token_text of an attnrules warehouse is missing"),
    "a column more": (["ALTER TABLE tokens ADD COLUMN x INTEGER"], "the table tokens is not defined as"),
    "a column less": (["ALTER TABLE runs DROP COLUMN environment"], "the table runs is not defined as"),
    "another type": (["ALTER TABLE tokens ALTER pos TYPE BIGINT"], "the table tokens is not defined as"),
    "another default": (["ALTER TABLE runs ALTER command SET DEFAULT version()"], "the table runs is not defined as"),
    "another view": (
        ["CREATE OR REPLACE VIEW attention_coverage AS FROM read_text('/etc/hostname')"],
        "the view attention_coverage is not defined as",
    ),
    "another macro": (["CREATE OR REPLACE MACRO share_label(share) AS 'x'"], "the macro share_label is not defined as"),
    "an overload": (
        ["CREATE OR REPLACE MACRO share_label(share) AS 'x', (share, y) AS 'y'"],
        "the macro share_label is not defined as",
    ),
    "another identity": (
        ["COMMENT ON TABLE schema_version IS 'mine'"],
        "the comment of the table schema_version does not name the warehouse",
    ),
    "a macro with the name of a function": (
        ["CREATE MACRO isfinite(x) AS version() IS NOT NULL"],
        "a macro named isfinite hides DuckDB's own",
    ),
    "a macro with the name of a function in capitals": (
        ['CREATE MACRO "ROUND"(x) AS 0'],
        "a macro named round hides DuckDB's own",
    ),
    "a macro with the name of an operator": (['CREATE MACRO "+"(x, y) AS 0'], r"a macro named \+ hides DuckDB's own"),
    "a macro with the name of an aggregate": (["CREATE MACRO sum(x) AS 0"], "a macro named sum hides DuckDB's own"),
    "a table macro with the name of a table function": (
        ["CREATE MACRO duckdb_tables() AS TABLE SELECT 1 AS x"],
        "a macro named duckdb_tables hides DuckDB's own",
    ),
    "a view with the name of a view of DuckDB": (
        ["CREATE VIEW duckdb_columns AS SELECT 1 AS x"],
        "a view named duckdb_columns hides DuckDB's own",
    ),
    "a type with the name of a type": (["CREATE TYPE \"json\" AS INTEGER"], "a type named json hides DuckDB's own"),
    "a schema with the name of a schema": (
        ["CREATE SCHEMA system"],
        "a schema named system hides DuckDB's own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_warehouse_that_differs_from_the_definitions_is_refused_with_the_difference(
    warehouse: Path, change: str
) -> None:
    statements, difference = CHANGES[change]
    changed(warehouse, *statements)
    with pytest.raises(WarehouseUnavailableError, match=difference):
        Warehouse.open(warehouse)


@pytest.mark.parametrize(
    "arguments", [["info"], ["check"], ["describe"], ["query", "headline"], ["export", "out"]]
)
def test_every_command_refuses_in_one_line(
    attnrules: Callable[..., Any], warehouse: Path, arguments: list[str]
) -> None:
    changed(warehouse, "CREATE MACRO isfinite(x) AS version() IS NOT NULL")
    command, *rest = arguments
    outcome = attnrules(command, warehouse, *rest)
    assert outcome.code == 3
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    assert "a macro named isfinite" in outcome.err


def test_what_a_user_adds_under_a_name_of_its_own_is_let_be(warehouse: Path) -> None:
    changed(
        warehouse,
        "CREATE TABLE notes (feature INTEGER, note VARCHAR)",
        "CREATE VIEW strong_rules AS FROM rules WHERE score > 1",
        "CREATE MACRO twice(x) AS 2 * x",
        "CREATE SCHEMA mine",
        "CREATE TABLE mine.tokens (x INTEGER)",
        "CREATE MACRO mine.round(x) AS 0",
    )
    with Warehouse.open(warehouse) as opened:
        assert opened.rows("SELECT twice(round(1.4)), count(*) FROM strong_rules") == [(2.0, 0)]


def test_comments_are_the_users(warehouse: Path) -> None:
    changed(warehouse, "COMMENT ON TABLE rules IS 'mine'", "COMMENT ON COLUMN rules.score IS NULL")
    Warehouse.open(warehouse).close()


def test_a_trigger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    # Only a file that DuckDB 1.4 could not open holds triggers.
    with duckdb.connect(str(path), config={"storage_compatibility_version": "v2.0.0"}) as connection:
        connection.execute("CREATE TABLE schema_version AS SELECT 3 AS version; CREATE TABLE log (x INTEGER)")
        connection.execute(
            "CREATE TRIGGER spy AFTER INSERT ON schema_version FOR EACH STATEMENT INSERT INTO log VALUES (4)"
        )
    with pytest.raises(WarehouseUnavailableError, match="a trigger named spy"):
        Warehouse.open(path)
