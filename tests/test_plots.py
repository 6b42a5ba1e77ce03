"""Plots: charts of what questions answer, written so that a paper or a page without a network can hold them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import attnrules as package
from attnrules.errors import AttnRulesError, UsageError
from attnrules.plots import PLOTS, draw
from attnrules.queries.heads import FeatureId
from attnrules.queries.questions import ask
from attnrules.warehouse import Warehouse


@pytest.fixture
def warehouse(small_once: Path) -> Any:
    with Warehouse.open(small_once) as opened:
        yield opened


def texts(path: Path) -> str:
    return " ".join(ElementTree.parse(path).getroot().itertext())


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_every_plot_is_drawn_from_all_rows_of_its_question(warehouse: Warehouse, name: str) -> None:
    plot = PLOTS[name]
    place: dict[str, int] = {}
    if name.startswith(("feature_", "example_")):
        query = (
            "SELECT layer, head, feature FROM rule_evaluations WHERE example_set = 'all_positions'"
            " ORDER BY layer, head, feature LIMIT 1"
        )
        place = dict(zip(("layer", "head", "feature"), warehouse.rows(query)[0], strict=True))
    rows = ask(warehouse, plot.question, {**plot.parameters, **place}).fetchall()
    drawn = draw(warehouse, name, place).to_dict()
    assert drawn["title"] == plot.title
    (data,) = drawn["datasets"].values()
    # Measures are drawn apart, shares of a row together.
    assert data
    assert len(data) in (len(rows), len(rows) // 2, len(rows) * 2, len(rows) * 3)


def test_all_heads_are_drawn(warehouse: Warehouse) -> None:
    """The question answers with the first rows alone unless it is asked for more."""
    (data,) = draw(warehouse, "roles").to_dict()["datasets"].values()
    assert len(data) == warehouse.value("SELECT count(*) FROM head_roles") > 0


def test_an_svg_names_methods_and_layers(attnrules: Any, small_once: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists.svg"
    assert attnrules("plot", small_once, "average_precision", "--out", out).code == 0
    said = texts(out)
    assert all(word in said for word in ("weighted_groups", "ceiling_from_features", "rules", "layer"))


def test_a_png_and_a_page_are_whole(attnrules: Any, small_once: Path, tmp_path: Path) -> None:
    for ending in ("png", "html"):
        assert attnrules("plot", small_once, "roles", "--out", tmp_path / f"roles.{ending}").code == 0
    assert (tmp_path / "roles.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "roles.html").read_text("utf-8")
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=", page), "a page of a plot needs no network"


def test_parameters_reach_the_question(warehouse: Warehouse) -> None:
    on_paper = draw(warehouse, "f1", {"example_set": "paper"}).to_dict()["datasets"]
    assert on_paper != draw(warehouse, "f1").to_dict()["datasets"]
    with pytest.raises(UsageError, match="has no parameter 'set'"):
        draw(warehouse, "f1", {"set": "paper"})


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("avg_precision", "--out", "x.svg"), 2, "did you mean average_precision?"),
        (("f1",), 2, "--out FILE.svg"),
        (("f1", "--out", "x.pdf"), 2, "ends in .svg, .png, .html"),
        (("f1", "--out", "no/such/folder/x.svg"), 1, "cannot be written: No such file"),
        (("f1", "--out", "x.svg", "-p", "example_set"), 2, "write it as key=value"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    attnrules: Any, small_once: Path, tmp_path: Path, monkeypatch: Any, arguments: Any, code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = attnrules("plot", small_once, *arguments)
    assert (outcome.code, words in outcome.err) == (code, True), outcome.err


def test_nothing_to_draw_names_the_command(small: Path) -> None:
    with Warehouse.open(small, writable=True) as warehouse:
        for table in ("rule_metric_values", "rule_evaluations"):
            warehouse.execute(f"DELETE FROM {table}")
        with pytest.raises(
            AttnRulesError, match="holds nothing to plot; run `attnrules mine skipgrams` first"
        ):
            draw(warehouse, "f1")


def test_a_missing_library_is_named(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(AttnRulesError, match=r"pip install 'attnrules\[plots\]'"):
        draw(warehouse, "f1")


def test_questions_complete_and_answer_with_frames(small_once: Path) -> None:
    with package.open(small_once) as wh:
        assert "headline" in dir(wh.questions)
        assert wh.questions.best_features(limit=2).height == 2
        with pytest.raises(AttributeError, match="did you mean headline"):
            wh.questions.headlin()


def test_features_are_named_in_any_way(small: Path) -> None:
    """One, several, a list, or all of the chosen heads."""
    with package.open(small, writable=True) as wh:
        (layer, head, feature), *_ = wh.sql(
            "SELECT layer, head, feature FROM output_features WHERE n_sequences > 0 ORDER BY ALL"
        ).fetchall()
        name = f"L{layer}H{head}.{feature}"
        for named in (name, [name], FeatureId(layer, head, feature)):
            found = wh.mine_skipgrams(
                features=named, method="weighted", baselines=False, min_count=1, max_count=96
            )
            assert [h.n_features for h in found.heads] == [1]
        n_active = wh.sql(
            "SELECT count(*) FROM output_features WHERE layer = $layer AND head = $head AND n_sequences > 0",
            {"layer": layer, "head": head},
        ).fetchall()[0][0]
        every = wh.mine_skipgrams(
            features="all",
            layers=[layer],
            heads=[head],
            method="weighted",
            baselines=False,
            min_count=1,
            max_count=96,
        )
        assert [h.n_features for h in every.heads] == [n_active]


@pytest.mark.parametrize(
    ("words", "meant"),
    [(("shwo", "w"), "show"), (("ingets",), "ingest"), (("query", "w", "headlin"), "headline")],
)
def test_a_slip_is_answered_with_what_was_meant(
    attnrules: Any, small_once: Path, words: tuple[str, ...], meant: str
) -> None:
    outcome = attnrules(*(small_once if word == "w" else word for word in words))
    assert (outcome.code, f"did you mean {meant}?" in outcome.err) == (2, True), outcome.err
