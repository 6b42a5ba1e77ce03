"""The tutorial, the quickstart and the README: their commands run, and print what the page says."""

from __future__ import annotations

import os
import platform
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from attnrules.commands.demo import print_best
from tests.conftest import Outcome

ROOT = Path(__file__).parent.parent
PLAY = runpy.run_path(str(ROOT / "docs/play.py"))
QUICKSTART = (ROOT / "docs/quickstart.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def demo() -> Path:
    """The warehouse of `attnrules demo`, which takes minutes to make."""
    made = os.environ.get("ATTNRULES_DEMO")
    if made is None:
        pytest.skip("ATTNRULES_DEMO names no warehouse of `attnrules demo`")
    if PLAY["python_of"](QUICKSTART) != platform.python_version():
        pytest.skip("the pages show the demo on the standard library of another Python")
    return Path(made)


def test_the_tutorial_prints_what_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/tutorial.md").read_text("utf-8")
    assert page.count("\n$ attnrules ") > 10
    played = PLAY["played"](page, tmp_path)
    assert PLAY["alike"](played, page), "look at the difference, then run python docs/play.py"


def test_the_quickstart_prints_what_it_says(demo: Path, tmp_path: Path) -> None:
    assert QUICKSTART.count("\n$ attnrules ") == 3
    played = PLAY["played"](QUICKSTART, tmp_path, PLAY["EMBEDDED"], demo)
    assert PLAY["alike"](played, QUICKSTART), "look at the difference, then run python docs/play.py"


def test_the_demo_prints_what_the_readme_says(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_best(demo)
    printed = capsys.readouterr().out.splitlines()
    shown = [
        line
        for block in re.findall(r"^```text\n(.*?)^```", README, re.M | re.S)
        for line in block.splitlines()
        # Shortened: the rules at the beginning of the page.
        if not line.startswith("[")
    ]
    assert len(shown) == 12
    assert [line for line in shown if not any(PLAY["alike"](other, line) for other in printed)] == []


def test_the_methods_compare_as_the_readme_says(demo: Path, attnrules: Callable[..., Outcome]) -> None:
    ((query, table),) = re.findall(
        r'attnrules query attnrules-demo\.duckdb "([^"]*)" --format markdown\n```\n\n((?:\|.*\n)+)', README
    )
    assert PLAY["alike"](attnrules("query", demo, query, "--format", "markdown").out, table)


@pytest.mark.parametrize(
    ("printed", "same"),
    [
        ("mean 0.794 of 16", True),
        ("mean 0.8 of 16", False),
        ("mean 0.797 of 16", False),
        ("mean 0.795 of 17", False),
        ("median 0.795 of 16", False),
        ("mean -0.795 of 16", False),
        ("mean 0.795", False),
        ("mean 0.795 of 16\nand more", False),
    ],
)
def test_figures_may_differ_by_a_unit_of_their_last_digit(printed: str, same: bool) -> None:
    assert PLAY["alike"](printed, "mean 0.795  of 16") is same


@pytest.mark.parametrize(("n_others", "same"), [(0, True), (2, True), (3, False)])
def test_one_line_of_twenty_may_differ(n_others: int, same: bool) -> None:
    page = [f"line {n} says 0.5" for n in range(40)]
    printed = ["another line"] * n_others + page[n_others:]
    assert PLAY["alike"]("\n".join(printed), "\n".join(page)) is same


def test_a_page_that_says_something_else_is_noticed(tmp_path: Path) -> None:
    page = "```console\n$ attnrules --version\nattnrules, version 0.0.0\n```\n"
    assert PLAY["played"](page, tmp_path) == page.replace("0.0.0", "0.1.0")


def test_what_a_page_leaves_out_is_left_out(tmp_path: Path) -> None:
    page = "```console\n$ attnrules --help | head -n 1\nUsage: attnrules [OPTIONS] COMMAND [ARGS]...\n```\n"
    assert PLAY["played"](page, tmp_path) == page


def test_the_python_of_a_page_is_the_one_that_runs(tmp_path: Path) -> None:
    page = PLAY["played"]("Printed with Python 3.0.0, needs Python 3.11 or later.\n", tmp_path)
    assert page == f"Printed with Python {platform.python_version()}, needs Python 3.11 or later.\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("attnrules info w.duckdb", "no such warehouse"),
        ("attnrules --version | grep nothing", "grep nothing"),
    ],
)
def test_a_command_that_fails_is_noticed(command: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=said):
        PLAY["played"](f"```console\n$ {command}\n```\n", tmp_path)


def test_only_attnrules_is_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tee: only attnrules, head and grep are run"):
        PLAY["played"]("```console\n$ attnrules --version | tee w.txt\n```\n", tmp_path)
