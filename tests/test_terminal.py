"""What `attnrules query` writes, what it refuses, and what reaches a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnrules.cli import run
from attnrules.commands.output import FORMATS, distinct_names
from attnrules.commands.terminal import visible

ROOT = Path(__file__).parent.parent
# One value of every kind that DuckDB has, and how it is written as text.
VALUES = {
    "12345678901234567890123::HUGEINT": "12345678901234567890123",
    "INTERVAL '3 months 2 days'": "3 months 2 days",
    "DATE 'infinity'": "infinity",
    "TIMESTAMP '-infinity'": "-infinity",
    "TIMESTAMPTZ '2026-01-02 03:04:05+00'": None,
    "TIME '03:04:05'": "03:04:05",
    "'abc'::BLOB": "abc",
    "'1010'::BIT": "1010",
    "union_value(a := 3)": "3",
    "[1, NULL, 3]": "[1, NULL, 3]",
    "{'a': 1, 'b': 'x'}": "{'a': 1, 'b': x}",
    "MAP {'k': 1}": "{k=1}",
    "1.10::DECIMAL(9, 2)": "1.10",
    "uuid '00000000-0000-0000-0000-000000000001'": "00000000-0000-0000-0000-000000000001",
    "'x' || chr(0) || 'y'": "x\0y",
    "true": "true",
    "NULL": "",
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("form", FORMATS)
def test_a_value_of_every_type_is_written_in_every_format(
    mined_once: Path, capfdbinary: Any, value: str, form: str
) -> None:
    assert run(["query", str(mined_once), f"SELECT {value} AS x", "--format", form]) == 0
    out = capfdbinary.readouterr().out
    if form == "csv" and VALUES[value] is not None:
        assert list(csv.reader(io.StringIO(out.decode())))[1:] in ([[VALUES[value]]], [[]])
    if form == "json":
        assert list(json.loads(out)[0]) == ["x"]
    if form == "parquet":
        assert pl.read_parquet(io.BytesIO(out)).shape == (1, 1)


def test_no_column_is_lost_where_two_have_one_name(attnrules: Any, mined_once: Path) -> None:
    asked = attnrules("query", mined_once, "SELECT 1 AS a, 2 AS a, 3 AS a_1", "--format", "jsonl")
    assert json.loads(asked.out) == {"a": 1, "a_2": 2, "a_1": 3}


@given(st.lists(st.sampled_from(["a", "a_1", "a_1_1", "b"]), max_size=6))
def test_names_are_made_distinct_and_those_that_are_stay(names: list[str]) -> None:
    distinct = distinct_names(names)
    assert len({*distinct}) == len(names)
    assert [new for new, name in zip(distinct, names, strict=True) if names.count(name) == 1] == [
        name for name in names if names.count(name) == 1
    ]


def test_integers_of_any_size_are_numbers_in_json(attnrules: Any, mined_once: Path) -> None:
    asked = attnrules("query", mined_once, "SELECT sum(n) AS s FROM range(9) AS t(n)", "--format", "json")
    assert json.loads(asked.out) == [{"s": 36}]


def test_markdown_keeps_its_columns_whatever_a_cell_holds(attnrules: Any, mined_once: Path) -> None:
    query = "SELECT 'a|b' || chr(10) || 'c' AS x, repeat('y', 200) AS y"
    lines = attnrules("query", mined_once, query, "--format", "markdown").out.splitlines()
    assert len(lines) == 3
    assert r"a\|b⏎c" in lines[2]
    assert "y" * 200 in lines[2]


def test_a_wide_table_wraps_its_cells_and_no_name_of_a_column(attnrules: Any, mined_once: Path) -> None:
    cell = ", ".join(["' yielded' x49"] * 4)
    columns = ", ".join(f"$cell AS c{n}, {n} / 7 AS average_precision_{n}" for n in range(4))
    query = f"SELECT {columns}, 'weighted_groups' AS m"
    shown = attnrules("query", mined_once, query, "-p", f"cell={cell}")
    header, rule, *rows, end = shown.out.splitlines()[1:]
    assert header.split() == [
        *("│", "c0", "┆", "average_precision_0", "┆", "c1", "┆", "average_precision_1", "┆", "c2", "┆"),
        *("average_precision_2", "┆", "c3", "┆", "average_precision_3", "┆", "m", "│"),
    ]
    assert {len(line) for line in (header, rule, *rows, end)} == {len(header)}
    assert len(header) <= 200
    cells = [[part.strip() for part in line.strip("│").split("┆")] for line in rows]
    assert " ".join(line[0] for line in cells).strip() == cell
    assert [line[-1] for line in cells if line[-1]] == ["weighted_groups"]


def test_a_table_too_wide_for_its_names_is_shown_row_by_row(attnrules: Any, mined_once: Path) -> None:
    columns = ", ".join(f"{n} AS {'n' * 30}_{n}" for n in range(8))
    shown = attnrules("query", mined_once, f"SELECT {columns}")
    assert [line.split() for line in shown.out.splitlines()] == [
        [f"{'n' * 30}_{n}", str(n)] for n in range(8)
    ]


@pytest.mark.parametrize("text", ["0", "007", "5", "1e3", "true", "null", "[1]", "a=b"])
def test_a_parameter_is_the_text_that_was_given(attnrules: Any, mined_once: Path, text: str) -> None:
    asked = attnrules("query", mined_once, "SELECT $t AS t", "-p", f"t={text}", "--format", "json")
    assert json.loads(asked.out) == [{"t": text}]


def test_a_parameter_of_another_type_is_asked_for(attnrules: Any, mined_once: Path) -> None:
    query = "SELECT $n + 1 AS n, $d AS d"
    given = ("-p", "n:INT=5", "-p", "d:DATE=2026-01-02")
    asked = attnrules("query", mined_once, query, *given, "--format", "json")
    assert json.loads(asked.out) == [{"n": 6, "d": "2026-01-02"}]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("limit=abc", "limit=abc is not a whole number, such as 20"),
        ("limit=1.5", "is not a whole number"),
        ("limit", "write it as key=value"),
        ("nope=1", "has no parameter 'nope'; it takes"),
    ],
)
def test_a_bad_parameter_of_a_question_is_named(
    attnrules: Any, mined_once: Path, parameter: str, message: str
) -> None:
    asked = attnrules("query", mined_once, "best_features", "-p", parameter)
    assert (asked.code, asked.out) == (2, "")
    assert message in asked.err


REFUSED = [
    "COPY (SELECT 1) TO '{f}'",
    "COPY rules TO '{f}'",
    "EXPORT DATABASE '{f}'",
    "SET log_query_path = '{f}'",
    "PRAGMA profile_output = '{f}'",
    "CALL enable_logging()",
    "ATTACH '{f}' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SELECT 1; COPY (SELECT 1) TO '{f}'",
    "WITH x AS (DELETE FROM rules RETURNING *) SELECT * FROM x",
    "DELETE FROM rules",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "FROM '/etc/passwd'",
    "SELECT * FROM read_csv('http://localhost:1/x.csv')",
    "EXPLAIN ANALYZE DELETE FROM rules",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_a_query_neither_writes_nor_reads_outside(
    attnrules: Any, mined_once: Path, tmp_path: Path, sql: str
) -> None:
    before = mined_once.read_bytes()
    asked = attnrules("query", mined_once, sql.format(f=tmp_path / "out"))
    assert (asked.code in (1, 2), asked.out) == (True, "")
    assert re.fullmatch(r"attnrules: (?!unexpected).*\n", asked.err), asked.err
    assert list(tmp_path.iterdir()) == []
    assert mined_once.read_bytes() == before


def test_files_are_read_where_that_is_allowed(attnrules: Any, mined_once: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n7\n")
    query = f"FROM '{tmp_path / 'x.csv'}'"
    asked = attnrules("query", mined_once, query, "--allow-files", "--format", "json")
    assert json.loads(asked.out) == [{"a": 7}]


def test_a_query_that_takes_too_long_is_stopped(attnrules: Any, mined_once: Path) -> None:
    endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
    asked = attnrules("query", mined_once, endless, "--timeout", "0.2")
    assert (asked.code, asked.out) == (1, "")
    assert "stopped after 0.2 s; give it longer with --timeout" in asked.err


def test_a_table_says_that_there_are_more_rows(attnrules: Any, mined_once: Path) -> None:
    asked = attnrules("query", mined_once, "FROM range(60)")
    assert (asked.code, "the first 50 rows; there are more" in asked.err) == (0, True)
    whole = attnrules("query", mined_once, "FROM range(60)", "--limit-rows", "0", "--format", "csv")
    assert (len(whole.out.splitlines()), whole.err) == (61, "")


def test_data_cut_at_the_limit_of_rows_is_a_failure(attnrules: Any, mined_once: Path) -> None:
    asked = attnrules("query", mined_once, "FROM range(1000001)", "--format", "csv")
    assert asked.code == 1
    assert "stopped after the first 1,000,000 rows; there are more" in asked.err


def test_rows_whose_columns_do_not_fit_side_by_side_stand_one_below_the_other(
    attnrules: Any, mined_once: Path
) -> None:
    values = ["1", "0.25::FLOAT", "NULL", "true", "'a' || chr(10) || 'b'", "[1, 2]"]
    columns = ", ".join(f"{value} AS a_long_name_of_a_column_{i}" for i, value in enumerate(values * 2))
    asked = attnrules("query", mined_once, f"SELECT {columns} FROM range(2)")
    shown = ["1", "0.25", "null", "true", "a⏎b", "[1, 2]"] * 2
    row = [f"{'a_long_name_of_a_column_' + str(i):>26}  {value}" for i, value in enumerate(shown)]
    assert asked.out.splitlines() == [*row, "", *row]
    nothing = attnrules("query", mined_once, f"SELECT {columns} WHERE false")
    assert nothing.out == ", ".join(f"a_long_name_of_a_column_{i}" for i in range(12)) + "\n"


@given(st.text(max_size=30))
def test_what_is_shown_moves_no_cursor_and_forges_no_line(text: str) -> None:
    assert not {unicodedata.category(character) for character in visible(text)} & {
        "Cc",
        "Cf",
        "Cs",
        "Zl",
        "Zp",
    }


@pytest.mark.parametrize("form", ["table", "markdown"])
@pytest.mark.parametrize("code", [0x1B, 0x0D, 0x07, 0x00, 0x0A, 0x9B, 0x202E, 0x2028])
def test_control_characters_of_data_do_not_reach_the_terminal(
    attnrules: Any, mined_once: Path, form: str, code: int
) -> None:
    asked = attnrules("query", mined_once, f"SELECT 'a' || chr({code}) || 'b' AS x", "--format", form)
    assert asked.code == 0
    assert all(line.isprintable() for line in asked.out.split("\n"))
    assert sum("a" in line and "b" in line for line in asked.out.split("\n")) == 1


def test_control_characters_of_arguments_do_not_reach_the_terminal(attnrules: Any, tmp_path: Path) -> None:
    asked = attnrules("info", tmp_path / "x\nattnrules: done\x1b[2J.duckdb")
    assert asked.code == 3
    assert asked.err.count("\n") == 1
    assert "\x1b" not in asked.err


def piped(arguments: list[object], **options: Any) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "attnrules", *map(str, arguments)]
    return subprocess.run(words, stderr=subprocess.PIPE, cwd=ROOT, check=False, **options)


def test_a_reader_that_goes_away_is_no_failure(mined_once: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = piped(["query", mined_once, "FROM range(100000)", "--format", "csv"], stdout=writing)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_a_full_stdout_is_one_line(mined_once: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = piped(["query", mined_once, "FROM range(10)", "--format", "csv"], stdout=full)
    assert ran.returncode == 1
    assert b"standard output cannot be written: No space left on device" in ran.stderr
    assert ran.stderr.count(b"\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_narrow_terminal_shows_what_it_lacks_as_escapes(mined_once: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    ran = piped(["query", mined_once, "SELECT 'a→é漢' AS x"], stdout=subprocess.PIPE, env=environment)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert rb"\u6f22" in ran.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "a\0b"],
        ["mine", "skipgrams", "{w}", "--layers", "²"],
        ["mine", "skipgrams", "{w}", "--layers", "0-300000000"],
        ["mine", "skipgrams", "{w}", "--layers", "9" * 5000],
        ["mine", "skipgrams", "{w}", "--features", "²"],
        ["mine", "skipgrams", "{w}", "--features", "9" * 5000],
        ["mine", "skipgrams", "{w}", "--seed", "9" * 5000],
        ["mine", "skipgrams", "{w}", "--num-values", "9" * 20],
        ["intervene", "{w}", "--batch-size", "²"],
        ["show", "{w}", "L0H0." + "9" * 5000],
        ["query", "{w}", "SELECT 1; SELECT 2"],
        ["query", "{w}", ""],
        ["query", "{w}", "SELECT (((((((("],
    ],
    ids=lambda arguments: " ".join(arguments)[:40].replace("\0", "NUL"),
)
def test_odd_words_are_one_line(attnrules: Any, mined_once: Path, arguments: list[str]) -> None:
    asked = attnrules(*(word.format(w=mined_once) for word in arguments))
    assert (asked.code in (1, 2), asked.out) == (True, "")
    assert re.fullmatch(r"attnrules: (?!unexpected).*\n", asked.err), asked.err


SQL_PIECES = st.lists(
    st.sampled_from(
        ["SELECT", "FROM", "rules", "heads", "(", ")", ",", "*", "1", "'x'", "$a", "WHERE", "AND", "layer"]
        + [
            "::HUGEINT",
            "INTERVAL 1 DAY",
            "error('x')",
            "UNION",
            "LIMIT",
            "--",
            ";",
            "PIVOT",
            "WITH",
            "AS",
            "\0",
            "é",
        ]
    ),
    max_size=8,
).map(" ".join)
VALUE = st.one_of(
    st.text(max_size=8), st.integers().map(str), st.sampled_from(["-1", "0-", "all", "L0H0.1", "1e9"])
)
OPTIONS = st.sampled_from(
    ["--layers", "--heads", "--features", "--seed", "--method", "--num-values", "--rules", "--format", "-p"]
    + ["--limit-rows", "--timeout", "--scaling", "--json", "--quick", "--nope", "--batch-size", "--min-count"]
)
WORDS = st.tuples(
    st.sampled_from(
        ["info", "check", "show", "query", "describe", "mine skipgrams", "mine counting", "export", "nope"]
    ),
    st.sampled_from(["{w}", "{d}/none.duckdb", "{d}", "/dev/null", ""]),
    st.lists(st.one_of(SQL_PIECES, VALUE), max_size=1),
    st.lists(st.tuples(OPTIONS, VALUE), max_size=2),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(WORDS)
def test_no_command_line_ends_in_something_unexpected(
    attnrules: Any, mined_once: Path, tmp_path: Path, words: tuple[str, str, list[str], list[tuple[str, str]]]
) -> None:
    command, warehouse, more, options = words
    place = warehouse.format(w=mined_once, d=tmp_path)
    # Mining changes a warehouse: only one that is not there is given to it, and nothing is exported.
    if command.startswith("mine") or command == "export":
        place = str(tmp_path / "none.duckdb")
    limits = ["--timeout", "5"] if command == "query" else []
    asked = attnrules(
        *command.split(), place, *more, *(word for option in options for word in option), *limits
    )
    assert asked.code in (0, 1, 2, 3)
    assert "attnrules: unexpected" not in asked.err
    assert "Traceback" not in asked.err
    assert asked.code == 0 or asked.err.startswith(("attnrules: ", "Usage: "))


@pytest.mark.parametrize(
    "words", [["test", "-> L1H2.176"], ["query", "-- all\nSELECT 1"], ["explain", "- an item"]]
)
def test_text_that_begins_like_an_option_is_refused_in_words(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command, text = words
    assert run([command, "w.duckdb", text]) == 2
    told = f"{text!r} is read as an option, as it begins with -; put it last, after --"
    assert capsys.readouterr().err == f"attnrules: {told}\n"
