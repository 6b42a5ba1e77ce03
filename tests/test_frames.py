"""Frames of a feature and what a notebook shows: the same numbers as the tables, with every token escaped."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import attnrules as package
from attnrules.api import RuleWarehouse
from attnrules.errors import UsageError
from attnrules.frames import Example
from attnrules.pages import write_site
from attnrules.queries.heads import parse_feature
from tests.test_pages import HOSTILE, Read, hostile

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


def first_of(wh: RuleWarehouse, head: str) -> str:
    """The first feature of a head that has rules."""
    return f"{head}.{wh.head(head).features.filter('has_rules')['feature'][0]}"


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


def drawn(chart: Any) -> list[dict[str, Any]]:
    """The rows that a chart draws."""
    (rows,) = chart.to_dict()["datasets"].values()
    found: list[dict[str, Any]] = rows
    return found


def test_plots_of_a_feature_draw_its_frames(wh: RuleWarehouse, name: str) -> None:
    feature = wh.feature(name)
    metrics = wh.questions.feature_metrics(**at(name))
    assert {(row["method"], row["n_rules"]) for row in drawn(feature.plot_metrics())} == set(
        metrics.select("method", "n_rules").iter_rows()
    )
    profile = drawn(feature.plot_profile())
    for words, column in (("where it is active", "attention"), ("anywhere", "attention_everywhere")):
        values = {
            (row["through_head"], row["distance"]): row["value"]
            for row in profile
            if row["positions"] == words
        }
        rows = feature.profile.select("through_head", "distance", column).iter_rows()
        assert values == {(head, distance): value for head, distance, value in rows}
    sources = drawn(feature.example(0).plot_sources())
    assert sorted(row["contribution"] for row in sources) == sorted(feature.sources(0)["contribution"])
    assert [row["key_pos"] for row in sources] == sorted(row["key_pos"] for row in sources)


def test_every_rule_that_matches_at_an_example_has_a_row(wh: RuleWarehouse) -> None:
    rows = wh.rows(
        "SELECT layer, head, feature FROM rules GROUP BY ALL ORDER BY count(*) DESC, 1, 2, 3 LIMIT 3"
    )
    for layer, head, number in rows:
        example = wh.feature(f"L{layer}H{head}.{number}").example(0)
        at = {"l": layer, "h": head, "f": number, "s": example.seq_id, "q": example.pos}
        assert example.rules.height == wh.value("SELECT count(*) FROM rules_at($l, $h, $f, $s, $q)", at)


def test_a_feature_that_is_not_there_is_said(wh: RuleWarehouse) -> None:
    with pytest.raises(UsageError, match=r"^L0H0\.999999: L0H0 has no such feature$"):
        wh.feature("L0H0.999999")
    with pytest.raises(
        UsageError, match=r"^L9H0\.1: not in this warehouse, which holds the features of L0H0, "
    ):
        wh.feature("L9H0.1")


@pytest.mark.parametrize("features", ["all", " ALL ", ["all"], ()])
def test_all_features_are_asked_for_in_one_word_or_none(wh: RuleWarehouse, features: Any) -> None:
    every = {name for (name,) in wh.sql(
        "SELECT DISTINCT head_label(layer, head) || '.' || feature FROM stated_rules"
    ).fetchall()}  # fmt: skip
    found = wh.predict([list(range(1, 30))], features=features)
    assert set(found["feature"]) <= every
    assert found.equals(wh.predict([list(range(1, 30))], features=sorted(every)))


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda wh: wh.predict("a text"), "'a text': is one text; give a list"),
        (lambda wh: wh.predict([[1.5]]), "1.5: is neither a token nor the id of one"),
        (lambda wh: wh.test(5), "5: is no rule, which is a text"),
        (lambda wh: wh.explain(["a"]), "['a']: is no text to explain, which is a text"),
        (lambda wh: wh.ask(None), "None: is no question or SQL, which is a text"),
        (lambda wh: wh.head(3), "3: is no head, which is a text"),
        (lambda wh: wh.table(None), "None: is no table or view, which is a text"),
        (lambda wh: wh.mine_counting(seed=2**63), "--seed 9223372036854775808: must be at most"),
        (lambda wh: wh.predict([[True]]), "True: is neither a token nor the id of one"),
        (lambda wh: wh.predict(5), "5: is no list of texts"),
        (lambda wh: wh.predict([5]), "5: is no text, nor a list of tokens"),
        (lambda wh: wh.predict([[1]], features=5), "5: names no features; write 'L0H3.17' or a list"),
        (lambda wh: wh.test("['a'] at 0 -> L0H0.0", seed=-1), "seed=-1: must be a whole number of at least"),
        (lambda wh: wh.test_confirmed(seed=-1), "seed=-1: must be a whole number of at least 0"),
        (lambda wh: wh.predict([[1]], n_rules=0), "n_rules=0: must be a whole number of at least 1"),
        (lambda wh: wh.show("L0H0.0", n_rules=-3), "n_rules=-3: must be a whole number of at least 1"),
        (lambda wh: wh.show("L0H0.0", n_rules="x"), "n_rules=x: must be a whole number of at least 1"),
        (lambda wh: wh.test("['a'] at 0 -> L0H0.0", n_examples=-1), "n_examples=-1: must be a whole number"),
        (lambda wh: wh.mine_skipgrams(n_features=0), "--features 0: must be a whole number of at least 1"),
        (lambda wh: wh.mine_skipgrams(max_rules="9"), "--max-rules 9: must be a whole number of at least 4"),
        (lambda wh: wh.mine_skipgrams(min_count=-1), "--min-count -1: must be a whole number of at least 0"),
        (lambda wh: wh.mine_absence(seed=-1), "--seed -1: must be a whole number of at least 0"),
        (lambda wh: wh.mine_counting(layers=3), "3: layers and heads are lists of numbers"),
        (lambda wh: wh.feature(None), "'None': not a feature"),
        (lambda wh: wh.show(3), "'3': not a feature"),
    ],
)
def test_a_slip_in_python_is_refused_by_name(
    wh: RuleWarehouse, ask: Callable[[RuleWarehouse], object], says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        ask(wh)
    assert str(refused.value).startswith(says)


def test_a_method_that_is_nearly_right_is_suggested(wh: RuleWarehouse) -> None:
    with pytest.raises(UsageError, match=r"--method weigthed: must be one of .*; did you mean weighted\?$"):
        wh.mine_skipgrams(method="weigthed")


def test_what_a_notebook_shows_is_escaped_and_runs_nothing(small_once: Path, tmp_path: Path) -> None:
    with package.open(hostile(small_once, tmp_path)) as wh:
        feature = wh.feature(first_of(wh, "L0H0"))
        shown = {
            "model": wh,
            "head": wh.head("L0H0"),
            "feature": feature,
            "example": feature.example(),
            "table": wh.table("vocabulary"),
            "result": wh.sql("SELECT $text AS \"<b onclick='x'>\"", {"text": HOSTILE[0]}),
        }
        outputs = {name: Read(of._repr_html_()) for name, of in shown.items()}
    allowed = {
        *(
            "div",
            "style",
            "h1",
            "h2",
            "h3",
            "p",
            "b",
            "small",
            "span",
            "code",
            "details",
            "summary",
            "section",
        ),
        *(
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "caption",
            "ul",
            "ol",
            "li",
            "i",
            "figure",
            "figcaption",
        ),
        *("svg", "path", "rect", "circle", "text", "title"),
    }
    for name, output in outputs.items():
        for tag, attributes in output.tags:
            assert tag in allowed, (name, tag)
            # Nothing of it is a link, is fetched or acts.
            assert not {of for of in attributes if of in ("href", "src") or of.startswith("on")}, (name, tag)
        texts = "".join(output.text)
        assert any(text.replace("\n", "") in texts for text in HOSTILE), name
        assert not re.search(r"https?:|@import|url\(", texts)


def test_a_notebook_shows_what_the_pages_show(small_once: Path, tmp_path: Path) -> None:
    """The same headings, sentences and cells, word for word and in the same order."""
    with package.open(small_once) as wh:
        write_site(wh, tmp_path / "site")
        feature = wh.feature(first_of(wh, "L0H0"))
        for shown, page in (
            (wh, "index.html"),
            (wh.head("L0H0"), "L0H0/index.html"),
            (feature, f"L0H0/{feature.id.feature}.html"),
        ):
            output = re.sub(r"<style>.*?</style>", "", shown._repr_html_(), flags=re.DOTALL)
            # What unfolds holds the table of a head, which a script makes on its page.
            said = " ".join(Read(output.partition("<summary>More")[0]).text).split()
            on_page = iter(" ".join(Read((tmp_path / "site" / page).read_text("utf-8")).text).split())
            assert len(said) > 20
            assert [word for word in said if word not in on_page] == []


def test_an_example_shows_its_activation_and_parts(wh: RuleWarehouse, name: str) -> None:
    feature = wh.feature(name)
    for number in (0, 2):
        example = feature.example(number)
        activation, pos = feature.examples["activation"][number], feature.examples["pos"][number]
        page = Read(example._repr_html_())
        assert f"{name} at position {pos} of sequence {example.seq_id}: {activation:.3f}" in page.text
        # The bar of the whole, below those of its parts.
        assert page.text[page.text.index("activation") + 1] == f"{activation:+.3f}"
        assert example.sources.equals(feature.sources(number))
    assert feature.example().rules.height


def test_an_example_where_the_feature_is_silent_is_said(wh: RuleWarehouse, name: str) -> None:
    silent = Example(wh, parse_feature(name), 0, 10**6)
    with pytest.raises(UsageError, match="is silent at position 1000000 of sequence 0"):
        silent._repr_html_()


def test_a_head_has_frames(wh: RuleWarehouse, name: str) -> None:
    head = wh.head(name.partition(".")[0].lower())
    of = {"layer": at(name)["layer"], "head": at(name)["head"]}
    firing = "SELECT count(*) FROM output_features WHERE (layer, head) = ($layer, $head) AND n_tokens > 0"
    assert head.features.height == wh.sql(firing, of).fetchall()[0][0] > 0
    assert head.profile["share_so_far"][-1] == pytest.approx(1, abs=1e-3)
    assert head.keys.equals(wh.questions.recurring_keys(**of, limit=10_000))
    assert head.conditions.equals(wh.questions.recurring_conditions(**of, limit=10_000))


def test_a_head_that_is_not_there_is_said(wh: RuleWarehouse) -> None:
    with pytest.raises(UsageError, match=r"L9H9: not in this warehouse, which holds L0H0, .*, L1H3$"):
        wh.head("L9H9")


def test_results_of_results_are_shown_too(wh: RuleWarehouse) -> None:
    page = Read(wh.sql("FROM range(100) AS t(n)").filter("n > 20")._repr_html_())
    assert [text for text in page.text if text.isdigit()] == [str(n) for n in range(21, 31)]
    assert "The first 10 rows; " in page.text


def shown(notebook: Path, **stands_for: tuple[str, str]) -> list[str]:
    """What the cells of a notebook show when they run, each name that is in it replaced by another."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    outputs = []
    for source in sources:
        for written, of_tests in stands_for.values():
            assert any(written in text for text in sources)
            source = source.replace(written, of_tests)
        *before, last = ast.parse(source).body
        assert isinstance(last, ast.Expr), source
        exec(compile(ast.Module(before, []), str(notebook), "exec"), names)
        result = eval(compile(ast.Expression(last.value), str(notebook), "eval"), names)
        outputs.append("" if result is None else _as_shown(result))
    return outputs


def _as_shown(result: Any) -> str:
    """What a notebook shows of a result; charts offer other kinds than HTML."""
    if hasattr(result, "_repr_html_"):
        return str(result._repr_html_())
    return json.dumps(result._repr_mimebundle_())


def test_the_notebook_runs(wh: RuleWarehouse, name: str) -> None:
    """Every cell, with the file and the feature of the tests in place of those of the demo."""
    outputs = shown(NOTEBOOK, file=("attnrules-demo.duckdb", str(wh.path)), feature=("L0H3.179", name))
    # The last one closes the warehouse.
    assert [bool(output) for output in outputs] == [True] * (len(outputs) - 1) + [False]
    assert len(outputs) > 5
