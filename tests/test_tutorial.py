"""The tutorial: every command of the page runs, in its order, and prints what the page says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLAY = runpy.run_path(str(ROOT / "docs/play.py"))


def test_the_tutorial_prints_what_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/tutorial.md").read_text("utf-8")
    assert page.count("\n$ attnrules ") > 10
    assert PLAY["played"](page, tmp_path) == page, "look at the difference, then run python docs/play.py"


def test_a_page_that_says_something_else_is_noticed(tmp_path: Path) -> None:
    page = "```console\n$ attnrules --version\nattnrules, version 0.0.0\n```\n"
    assert PLAY["played"](page, tmp_path) == page.replace("0.0.0", "0.1.0")


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such warehouse"):
        PLAY["played"]("```console\n$ attnrules info w.duckdb\n```\n", tmp_path)
