"""Statements: their headers are true, what they read was made before, and what is told when one runs or fails."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnrules import sql
from attnrules.errors import AttnRulesError
from attnrules.sql import Statement, Statements
from attnrules.sql.statements import parsed
from attnrules.warehouse import Warehouse
from attnrules.warehouse.asked import log

ROOT = Path(__file__).parent.parent
VIEWS = {path.stem for path in (ROOT / "sql/views").glob("*.sql")}
STORED = {*sql.table_names(), *VIEWS}
STEPS = [
    s
    for kind in ("heads", "skipgrams", "stated", "evaluation", "absence", "counting", "interventions", "card")
    for s in Statements("attnrules.queries", kind).all()
]
KEEPERS = [
    statement
    for kind in ("derived", "forget", "ledger", "checks")
    for statement in Statements("attnrules.sql", kind).all()
]
TEMPORARY = {statement.makes for statement in (*STEPS, *KEEPERS) if statement.makes}
MAKING = r"CREATE OR REPLACE TEMP TABLE (\w+)"
CHANGING = r"(?:INSERT INTO|DELETE FROM|UPDATE) (\w+)"
READING = r"\b(?:FROM|JOIN|USING)\s+(\w+)(?:\s+AS\s+\w+)?((?:\s*,\s*\w+(?:\s+AS\s+\w+)?)*)"
NAMING = r"(\w+)(?:\s*\([^()]*\))?\s+AS\s+(?:NOT\s+)?(?:MATERIALIZED\s+)?\("


def touched(text: str) -> dict[str, set[str]]:
    """Read off a statement's own words what its header must say."""
    code = re.sub(r"'(?:[^']|'')*'", "''", re.sub(r"--.*", "", text))
    reading = re.sub(CHANGING, "", code)
    read = {
        name
        for first, more in re.findall(READING, reading)
        for name in (first, *re.findall(r",\s*(\w+)", more))
    }
    return {
        "reads": (read - set(re.findall(NAMING, code))) & (STORED | TEMPORARY),
        "writes": set(re.findall(CHANGING, code)),
        "makes": set(re.findall(MAKING, code)),
    }


@pytest.mark.parametrize("statement", [*STEPS, *KEEPERS], ids=lambda statement: statement.name)
def test_a_header_says_what_the_statement_touches(statement: Statement) -> None:
    said = {"reads": {*statement.reads}, "writes": {*statement.writes}, "makes": {statement.makes} - {None}}
    assert said == touched(statement.text)


@pytest.mark.parametrize("statement", [*STEPS, *KEEPERS], ids=lambda statement: statement.name)
def test_what_a_statement_reads_is_stored_or_made_by_a_step(statement: Statement) -> None:
    assert {*statement.reads} - STORED - TEMPORARY == set()


def test_a_header_may_go_on_in_the_next_line() -> None:
    statement = parsed("x", "-- Grain: one.\n-- Reads: a, b,\n--   c\n-- Makes: d\nSELECT 1")
    assert (statement.reads, statement.writes, statement.makes) == (("a", "b", "c"), (), "d")


class Recorder(logging.Handler):
    """Keeps the statements that ran, in their order."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.statements: list[Statement] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.statements.append(record.__dict__["asked"].query)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    level = log.level
    log.addHandler(recorder)
    log.setLevel(logging.INFO)
    yield recorder
    log.removeHandler(recorder)
    log.setLevel(level)


def read_too_early(statements: list[Statement]) -> list[tuple[str, str]]:
    """Return which statement read which temporary table before any made it."""
    made: set[str] = set()
    early = []
    for statement in statements:
        early += [(statement.name, read) for read in statement.reads if read not in STORED | made]
        made |= {statement.makes} - {None}  # type: ignore[arg-type]
    return early


def test_a_step_is_logged_once_when_its_rows_are_fetched(mined_once: Path, recorder: Recorder) -> None:
    with Warehouse.open(mined_once) as warehouse:
        relation = warehouse.sql(Statement("x", "SELECT 1")).filter("true")
        assert recorder.statements == []
        relation.fetchall()
    assert [statement.name for statement in recorder.statements] == ["x"]


SETS = ("--example-sets", "paper,uniform,bins,all_positions")
FEW = ("--heads", "0", "--layers", "0", "--features", "2", "--examples-per-split", "5", "--max-rules", "16")


@pytest.mark.parametrize(
    "arguments",
    [
        ("mine", "skipgrams", "{w}", "--method", "all", *SETS, *FEW),
        ("mine", "skipgrams", "{w}", "--method", "magnitude", "--aggregation", "sum", *FEW),
        ("mine", "absence", "{w}", "--layers", "0", "--heads", "1", "--pairs", "2"),
        ("mine", "counting", "{w}", "--layers", "0", "--heads", "2"),
    ],
    ids=lambda arguments: " ".join(arguments[:4]),
)
def test_every_step_runs_after_what_it_reads_was_made(
    attnrules: Any, ingested: Path, recorder: Recorder, arguments: tuple[str, ...]
) -> None:
    outcome = attnrules(*(argument.format(w=ingested) for argument in arguments))
    assert outcome.code == 0, outcome.err
    assert read_too_early(recorder.statements) == []
    assert any(statement.makes for statement in recorder.statements)


def test_a_step_that_reads_too_early_is_found() -> None:
    assert read_too_early([Statement("x", "", ("lists",))]) == [("x", "lists")]


def test_a_step_that_fails_is_named_with_its_sql_and_the_types_of_its_parameters(mined_once: Path) -> None:
    broken = Statement("evaluation/broken", "SELECT nothing_such, $of, $many")
    with Warehouse.open(mined_once) as warehouse, pytest.raises(AttnRulesError) as caught:
        warehouse.rows(broken, {"of": 7, "many": [1, 2]})
    assert str(caught.value).endswith("(step evaluation/broken)")
    assert caught.value.__notes__ == [
        "SQL:\nSELECT nothing_such, $of, $many\nparameters: of: int, many: list of 2 int"
    ]


@pytest.mark.parametrize("fetch", ["execute", "rows", "sql", "value", "columns"])
def test_every_way_to_run_a_statement_names_it(mined_once: Path, fetch: str) -> None:
    broken = Statement("evaluation/broken", "SELECT nothing_such")
    with (
        Warehouse.open(mined_once) as warehouse,
        pytest.raises(AttnRulesError, match=r"\(step evaluation/broken\)\n"),
    ):
        getattr(warehouse, fetch)(broken)


@pytest.mark.parametrize("fetch", ["pl", "to_arrow_table", "fetchall"])
def test_a_result_that_fails_when_it_is_fetched_names_its_step(mined_once: Path, fetch: str) -> None:
    late = Statement("evaluation/late", "SELECT error('late') FROM range(3)")
    with (
        Warehouse.open(mined_once) as warehouse,
        pytest.raises(AttnRulesError, match=r"late.*\(step evaluation/late\)\n"),
    ):
        getattr(warehouse.sql(late), fetch)()


@pytest.fixture
def quiet_again() -> Iterator[None]:
    logger = logging.getLogger("attnrules")
    yield
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


@pytest.mark.usefixtures("quiet_again")
def test_verbose_logs_name_rows_and_seconds_of_each_step(attnrules: Any, mined_once: Path) -> None:
    with Warehouse.open(mined_once) as warehouse:
        n_heads = warehouse.value("SELECT count(*) FROM heads")
    quiet = attnrules("query", mined_once, "heads")
    told = attnrules("query", mined_once, "heads", "--verbose")
    assert (quiet.err, told.out) == ("", quiet.out)
    assert re.search(rf"(?m)^attnrules: questions/heads: {n_heads} rows?, \d+\.\d{{3}} s$", told.err), (
        told.err
    )


@pytest.mark.usefixtures("quiet_again")
@pytest.mark.parametrize(("level", "ad_hoc"), [("info", False), ("debug", True)])
def test_the_environment_asks_for_steps_or_for_everything(
    attnrules: Any, mined_once: Path, monkeypatch: pytest.MonkeyPatch, level: str, ad_hoc: bool
) -> None:
    monkeypatch.setenv("ATTNRULES_LOG", level)
    assert ("SELECT 7 AS x: 1 row," in attnrules("query", mined_once, "SELECT 7 AS x").err) == ad_hoc


@pytest.mark.usefixtures("quiet_again")
def test_an_unknown_level_is_refused(
    attnrules: Any, mined_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNRULES_LOG", "loud")
    outcome = attnrules("info", mined_once)
    assert (outcome.code, outcome.err) == (2, "attnrules: ATTNRULES_LOG=loud: must be info or debug\n")


def test_the_whole_story_of_our_own_errors_holds_the_sql(
    attnrules: Any, mined_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNRULES_TRACEBACK", "1")
    outcome = attnrules("query", mined_once, "SELECT nothing_such")
    assert "Traceback (most recent call last)" in outcome.err
    assert "SQL:\nSELECT nothing_such\nparameters: none" in outcome.err
