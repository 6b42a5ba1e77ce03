"""Frames of a feature and what a notebook shows: the same numbers as the tables, with every token escaped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import attnrules as package
from attnrules.api import RuleWarehouse
from attnrules.errors import UsageError
from attnrules.warehouse import Warehouse

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"


@pytest.fixture
def wh(mined_once: Path) -> Iterator[RuleWarehouse]:
    with package.open(mined_once) as opened:
        yield opened


@pytest.fixture
def name(wh: RuleWarehouse) -> str:
    """A feature with rules of every kind."""
    ((layer, head, feature),) = wh.sql(
        "SELECT layer, head, feature FROM stated_rules ORDER BY layer, head, feature LIMIT 1"
    ).fetchall()
    return f"L{layer}H{head}.{feature}"


def at(name: str) -> dict[str, int]:
    layer, rest = name.removeprefix("L").split("H")
    head, feature = rest.split(".")
    return {"layer": int(layer), "head": int(head), "feature": int(feature)}


def test_frames_hold_the_rows_of_the_tables(wh: RuleWarehouse, name: str) -> None:
    feature = wh.feature(name)
    of = "WHERE layer = $layer AND head = $head AND feature = $feature"
    for frame, table in (
        (feature.rules, "rules"),
        (feature.stated, "stated_rules"),
        (feature.examples, "output_activations"),
    ):
        after_bos = " AND pos > 0" if table == "output_activations" else ""
        n = wh.sql(f"SELECT count(*) FROM {table} {of}{after_bos}", at(name)).fetchall()[0][0]
        assert frame.height == n > 0, table


def test_examples_come_strongest_first_and_have_their_sources(wh: RuleWarehouse, name: str) -> None:
    feature = wh.feature(name)
    activations = feature.examples["activation"].to_list()
    assert activations == sorted(activations, reverse=True)
    seq_id, pos = feature.examples.row(1)[:2]
    stored = wh.sql(
        "SELECT count(*) FROM attention_sources WHERE layer = $layer AND head = $head"
        " AND seq_id = $seq_id AND query_pos = $pos",
        {"layer": at(name)["layer"], "head": at(name)["head"], "seq_id": seq_id, "pos": pos},
    ).fetchall()[0][0]
    assert feature.sources(1).height == stored > 0
    with pytest.raises(UsageError, match=f"has no example {feature.examples.height}"):
        feature.sources(feature.examples.height)


def test_a_profile_is_of_attention(wh: RuleWarehouse, name: str) -> None:
    profile = wh.feature(name).profile
    assert profile.height
    assert (profile["attention"] >= 0).all()


def test_a_feature_that_is_not_there_is_said(wh: RuleWarehouse) -> None:
    with pytest.raises(UsageError, match="not in this warehouse"):
        wh.feature("L0H0.999999")


def test_what_a_notebook_shows_is_escaped(mined: Path, name: str) -> None:
    hostile = "<script>alert(1)</script>"
    with Warehouse.open(mined, writable=True) as warehouse:
        warehouse.execute("UPDATE vocabulary SET token = $token", {"token": hostile})
        warehouse.execute("UPDATE model SET name = $name", {"name": hostile})
        warehouse.execute("UPDATE output_features SET description = $text", {"text": hostile})
    with package.open(mined) as wh:
        for shown in (wh, wh.feature(name), wh.table("vocabulary")):
            page = shown._repr_html_()
            assert hostile not in page
            assert "<table" in page


def test_the_notebook_runs(wh: RuleWarehouse, name: str) -> None:
    """Every cell, with the file and the feature of the tests in place of those of the demo."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert code.count("wh.") >= 5
    for stands_for, of_tests in (("attnrules-demo.duckdb", str(wh.path)), ("L1H1.215", name)):
        assert stands_for in code
        code = code.replace(stands_for, of_tests)
    exec(compile(code, str(NOTEBOOK), "exec"), {})
