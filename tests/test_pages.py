"""The static site: what it says is what the warehouse holds, links resolve, and no text of it becomes markup."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from attnrules.commands.describe import methods
from attnrules.errors import UsageError
from attnrules.pages import figures, wording, write_site
from attnrules.pages.site import environment, feature_page
from attnrules.queries.heads import FeatureId
from attnrules.queries.pages import HeadPages, head_pages
from attnrules.queries.pages import site as site_of
from attnrules.queries.questions import ask
from attnrules.warehouse import Warehouse, describe
from tests.conftest import Outcome
from tests.test_stated_on_model import store

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "</code></pre></details>{{ 7 * 7 }}",
    "' onmouseover=\"alert(3)\" x='&amp;",
)


class Read(HTMLParser):
    """What a page is made of: tags with their attributes, and the text of code blocks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.code: list[str] = []
        self._in_code = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "code":
            self._in_code = True
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_code = self._in_code and tag != "code"

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._in_code:
            self.code[-1] += data


def pages(folder: Path) -> dict[Path, Read]:
    return {path: Read(path.read_text("utf-8")) for path in sorted(folder.rglob("*.html"))}


@pytest.fixture(scope="module")
def site(small_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("pages") / "site"
    with Warehouse.open(small_once) as warehouse:
        write_site(warehouse, folder)
    return folder


def test_every_feature_with_rules_has_a_page(site: Path, small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        rows = warehouse.rows("SELECT DISTINCT head_label(layer, head), feature FROM rules")
        firing = warehouse.rows(
            "SELECT head_label(layer, head), feature FROM output_features WHERE n_tokens > 0 ORDER BY ALL"
        )
    expected = {f"{head}/{feature}.html" for head, feature in rows}
    found = {path.relative_to(site).as_posix() for path in site.rglob("*.html") if path.name != "index.html"}
    assert found == expected
    listed = []
    for script in sorted(site.rglob("features.js")):
        text = script.read_text("utf-8")
        assert text.isascii()
        listed += [
            (script.parent.name, row["feature"])
            for row in json.loads(text.removeprefix("window.FEATURES = ").removesuffix(";\n"))
        ]
    assert sorted(listed) == sorted(firing)


def test_links_resolve_and_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path, page in pages(site).items():
        for _, attributes in page.tags:
            for name in ("href", "src"):
                link = attributes.get(name)
                if link is not None and not link.startswith("#"):
                    assert (path.parent / link).is_file(), (path, link)
    for asset in (site / "assets").iterdir():
        assert not re.search(r"https?:|@import|url\(", asset.read_text("utf-8"))


def test_the_queries_that_are_shown_run_as_they_are(site: Path, small_once: Path) -> None:
    path = min((p for p in site.rglob("*.html") if p.name != "index.html"), key=lambda p: p.as_posix())
    shown = [code for code in Read(path.read_text("utf-8")).code if re.match(r"(SELECT|WITH|FROM)\b", code)]
    assert len(shown) >= 5
    with Warehouse.open(small_once) as warehouse:
        for query in shown:
            assert warehouse.sql(query).columns


def test_examples_show_the_text_around_the_strongest_activations(site: Path, small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        [(layer, head, feature)] = warehouse.rows(
            "SELECT DISTINCT layer, head, feature FROM rules ORDER BY ALL LIMIT 1"
        )
        [(activation, token)] = warehouse.rows(
            f"SELECT activation, token FROM activations_of({layer}, {head}, {feature}) LIMIT 1"
        )
    page = (site / f"L{layer}H{head}" / f"{feature}.html").read_text("utf-8")
    first = re.search(r'<span class="activation">([0-9.]+)</span>.*?</li>', page, re.DOTALL)
    assert first is not None
    assert first[1] == f"{activation:.3f}"
    boxed = re.findall(r'class="t query-token[^>]*>([^<]*)<', first[0])
    assert boxed == [token.replace("\n", "⏎")]


def hostile(small_once: Path, tmp_path: Path) -> Path:
    """A warehouse whose tokens and descriptions are markup."""
    path = Path(shutil.copy(small_once, tmp_path / "hostile.duckdb"))
    with Warehouse.open(path, writable=True) as warehouse:
        texts = {"texts": list(HOSTILE)}
        warehouse.execute(
            "UPDATE vocabulary SET token = ($texts::VARCHAR[])[1 + token_id % len($texts::VARCHAR[])]", texts
        )
        for table, column in (
            ("input_features", "description"),
            ("output_features", "description"),
            ("rule_right_sides", "says"),
        ):
            warehouse.execute(
                f"UPDATE {table} SET {column} = ($texts::VARCHAR[])[1 + feature % len($texts::VARCHAR[])]",
                texts,
            )
        warehouse.execute("UPDATE model SET name = $name", {"name": HOSTILE[0]})
        warehouse.execute("UPDATE corpus SET source = $source", {"source": HOSTILE[1]})
    return path


def test_no_text_of_a_warehouse_becomes_markup(small_once: Path, tmp_path: Path, site: Path) -> None:
    with Warehouse.open(hostile(small_once, tmp_path)) as warehouse:
        write_site(warehouse, tmp_path / "site")
    allowed = {tag for page in pages(site).values() for tag, _ in page.tags}
    text = ""
    for path, page in pages(tmp_path / "site").items():
        text += "".join(page.text)
        for tag, attributes in page.tags:
            assert tag in allowed, (path, tag)
            assert not [name for name in attributes if name.startswith("on")], (path, tag, attributes)
            assert tag != "script" or attributes["src"].endswith(("script.js", "features.js"))
    assert HOSTILE[0] in text
    assert "{{ 7 * 7 }}" in text
    for script in (tmp_path / "site").rglob("*.js"):
        assert "</script" not in script.read_text("utf-8") or script.name == "features.js"


def test_texts_of_figures_are_escaped() -> None:
    for figure in (
        figures.bars([1.0], [HOSTILE[0]], what=HOSTILE[1]),
        figures.decay([(HOSTILE[0], [1.0, 0.5])], HOSTILE[1]),
        figures.waterfall([(HOSTILE[0], 1.0), (40 * HOSTILE[1], -0.5)], (HOSTILE[2], 0.5), HOSTILE[3]),
        figures.arcs(
            [
                {"pos": pos, "token": token, "attention": 0.5, "contribution": 0.1}
                for pos, token in ((2, HOSTILE[0]), (4, HOSTILE[1]))
            ],
            4,
            HOSTILE[2],
        ),
        figures.metrics(
            [
                {
                    "kind": "rules", "method": HOSTILE[0], "scaling": "paper", "n_rules": 4, "n_rules_used": 4,
                    "average_precision": 0.5, "average_precision_low": 0.4, "average_precision_high": 0.6,
                },
                {
                    "kind": "baseline", "method": HOSTILE[1], "scaling": "none", "n_rules": 0, "n_rules_used": 0,
                    "average_precision": 0.1, "average_precision_low": None, "average_precision_high": None,
                },
            ],
            HOSTILE[1],
        ),
    ):  # fmt: skip
        assert {tag for tag, _ in Read(figure).tags} <= {"svg", "path", "text", "rect", "title", "circle"}


def test_a_chosen_feature_alone_has_a_page(small_once: Path, tmp_path: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        [(layer, head, feature)] = warehouse.rows(
            "SELECT layer, head, feature FROM output_features WHERE n_tokens > 0 "
            " ORDER BY n_tokens, layer, head, feature LIMIT 1"
        )
        written = write_site(warehouse, tmp_path / "one", features=[FeatureId(layer, head, feature)])
        assert written.n_features == 1
        with pytest.raises(UsageError, match="has no such feature"):
            write_site(warehouse, tmp_path / "none", features=[FeatureId(layer, head, 10**6)])
        [silent] = warehouse.rows(
            "SELECT layer, head, feature FROM output_features WHERE n_tokens = 0 ORDER BY ALL LIMIT 1"
        )
        with pytest.raises(UsageError, match="never fires"):
            write_site(warehouse, tmp_path / "none", features=[FeatureId(*silent)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one"]


def test_a_folder_that_holds_something_is_left_alone(
    attnrules: Callable[..., Any], small_once: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    outcome = attnrules("report", small_once, tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"attnrules: {tmp_path}: is not an empty folder; name a new one\n"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_the_figures_shown_are_those_of_the_query_beside_them(small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        [(layer, head, feature)] = warehouse.rows(
            "SELECT layer, head, feature FROM rules ORDER BY layer DESC, head DESC, feature DESC LIMIT 1"
        )
        found = head_pages(warehouse, layer, head, [feature])
        at = {"layer": layer, "head": head, "feature": feature}
        tokens = [
            (row["token"], row["attention"], row["attention_everywhere"])
            for row in found.of("source_tokens", feature)
        ]
        asked = [row[1:] for row in ask(warehouse, "attended_tokens", at).fetchall()]
        back = {row["distance"]: row["attention"] for row in found.of("distances", feature)}
        anywhere = {row["distance"]: row["attention"] for row in found.anywhere}
        profile = ask(warehouse, "feature_profile", {**at, "limit": 100}).fetchall()
    assert tokens
    assert [row[0] for row in tokens] == [row[0] for row in asked]
    assert np.allclose([row[1:] for row in tokens], [row[1:] for row in asked], rtol=1e-9, atol=1e-12)
    for _, distance, attention, everywhere, _ in profile:
        if distance <= 16:
            assert attention == pytest.approx(back.get(distance, 0), abs=1e-4)
            assert everywhere == pytest.approx(anywhere.get(distance, 0), abs=1e-4)


@pytest.fixture(scope="module")
def head(small_once: Path) -> Iterator[tuple[Warehouse, HeadPages]]:
    """A head of the small warehouse, with a page for every feature that has rules."""
    with Warehouse.open(small_once) as warehouse:
        yield warehouse, head_pages(warehouse, 0, 0)


def test_outcomes_are_those_of_the_question_beside_them(head: tuple[Warehouse, HeadPages]) -> None:
    warehouse, of_head = head
    methods = set()
    pages = [of_head, *(head_pages(warehouse, *at) for at in ((0, 1), (1, 0), (1, 1)))]
    for found, row in ((page, row) for page in pages for row in page.features):
        shown = found.of("outcomes", row["feature"])
        if not shown:
            continue
        methods.add(row["method"])
        at = {"layer": found.layer, "head": found.head, "feature": row["feature"]}
        of_list = {"method": row["method"], "n_rules": row["n_rules"]}
        asked = ask(warehouse, "where_rules_fail", {**at, **of_list, "limit": 3}).pl().to_dicts()
        names = ("outcome", "seq_id", "pos", "before", "token", "after")
        assert [[r[name] for name in names] for r in shown] == [[r[name] for name in names] for r in asked]
        n = dict(
            warehouse.rows(
                "SELECT outcome, count(*) FROM held_out_outcomes($layer, $head, $feature, $method, $n_rules)"
                " GROUP BY ALL",
                {**of_list, **at},
            )
        )
        assert {r["outcome"]: r["n"] for r in shown} == n
    # Sums of what keys bring, and stated rules.
    assert "stated" in methods
    assert len(methods) > 1


def test_parts_shown_add_up_to_the_strongest_activation(head: tuple[Warehouse, HeadPages]) -> None:
    _, found = head
    shown = {row["feature"]: found.of("parts", row["feature"]) for row in found.features}
    assert any(row["rank"] is not None for parts in shown.values() for row in parts)
    for row in found.features:
        if parts := shown[row["feature"]]:
            strongest = found.of("examples", row["feature"])[0]
            assert (parts[0]["seq_id"], parts[0]["pos"]) == (strongest["seq_id"], strongest["pos"])
            assert sum(part["amount"] for part in parts) == pytest.approx(strongest["activation"], abs=1e-5)


def test_related_features_are_those_of_the_question(head: tuple[Warehouse, HeadPages]) -> None:
    warehouse, found = head
    assert found.keyed_method == "weighted"
    assert found.keys
    some = [row["feature"] for row in found.features if found.of("related", row["feature"])][:3]
    assert some
    for feature in some:
        asked = ask(warehouse, "related_features", {"layer": 0, "head": 0, "feature": feature, "limit": 8})
        assert [(row[0], row[1], row[2]) for row in asked.fetchall()] == [
            (f"{row['other_head']}.{row['other_feature']}", row["n_shared"], round(row["share_of_keys"], 3))
            for row in found.of("related", feature)
        ]


def test_the_shape_of_activations_is_a_digit_a_bin(head: tuple[Warehouse, HeadPages]) -> None:
    warehouse, found = head
    by_feature: dict[int, list[float]] = {}
    for feature, activation in warehouse.rows(
        "SELECT feature, activation FROM output_activations WHERE layer = 0 AND head = 0 AND pos > 0"
    ):
        by_feature.setdefault(feature, []).append(activation)
    largest = dict(
        warehouse.rows("SELECT feature, max_activation FROM output_features WHERE layer = 0 AND head = 0")
    )
    expected = {}
    for feature, values in by_feature.items():
        bins = [0] * 16
        for value in values:
            bins[min(15, int(16 * value / largest[feature]))] += 1
        expected[feature] = "".join(str(-(-9 * n // max(bins))) for n in bins)
    assert found.sparks == expected


def test_the_headline_is_over_the_features_that_were_judged(site: Path, small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        judged = warehouse.rows(
            "SELECT average_precision FROM best_lists WHERE example_set = 'all_positions'"
        )
    page = " ".join((site / "index.html").read_text("utf-8").split())
    median = float(np.median([precision for (precision,) in judged]))
    assert f"Of {len(judged)} features judged on every position" in page
    assert f"with average precision {median:.2f}" in page


def test_a_small_negative_number_is_zero() -> None:
    assert (wording.number(-0.001), wording.number(-0.02), wording.number(None)) == ("0.00", "-0.02", "—")
    assert (wording.percent(-0.0001), wording.percent(-0.003, 0), wording.percent(-0.01)) == (
        "0.0%",
        "0%",
        "-1.0%",
    )


def test_what_cannot_be_seen_in_a_token_is_spelt_out() -> None:
    assert wording.token("a\n\t\x7f\u200b é") == "'a\\n\\t\\x7f\\u200b é'"


def test_bars_of_parts_begin_where_the_one_above_ends() -> None:
    figure = Read(figures.waterfall([("a", 2.0), ("b", -0.5), ("c", 0.25)], ("all", 1.75), "what"))
    boxes = [
        (float(attributes["x"] or 0), float(attributes["width"] or 0))
        for tag, attributes in figure.tags
        if tag == "rect"
    ]
    ends = [x + width for x, width in boxes]
    assert boxes[1] == (pytest.approx(ends[0] - boxes[1][1]), pytest.approx(boxes[0][1] / 4, abs=0.1))
    assert boxes[2][0] == pytest.approx(boxes[1][0])
    assert (boxes[3][0], ends[3]) == (boxes[0][0], pytest.approx(ends[2], abs=0.1))


def test_arcs_lead_to_the_sources_and_what_is_left_out_is_counted() -> None:
    rows = [
        {"pos": pos, "token": f"t{pos}", "attention": attention, "contribution": contribution}
        for pos, attention, contribution in ((0, 0.5, -0.1), (7, 0.3, 0.2), (8, None, None), (9, 0.2, 0.0))
    ]
    figure = Read(figures.arcs(rows, 9, "what"))
    assert [(attributes.get("class"), tag) for tag, attributes in figure.tags if tag in ("path", "circle")] == [
        ("arc", "path"), ("arc", "path"), ("arc-dot", "circle")
    ]  # fmt: skip
    assert "⋮ 6 more" in figure.text
    assert [a["class"] for tag, a in figure.tags if tag == "rect"] == ["part down", "part up", "part up"]


def test_card_and_page_begin_with_the_same_sentence(
    site: Path, small_once: Path, attnrules: Callable[..., Outcome]
) -> None:
    path = min((p for p in site.rglob("*.html") if p.name != "index.html"), key=lambda p: p.as_posix())
    lead = re.search(r'<p class="lead">(.*?)</p>', path.read_text("utf-8"), re.DOTALL)
    assert lead is not None
    card = attnrules("show", small_once, f"{path.parent.name}.{path.stem}").out
    said = card.split("\n\n")[0].partition("\n")[2]
    assert " ".join(said.split()) == " ".join(unescape(lead[1]).split())


def test_a_page_says_what_the_model_said_of_a_stated_rule(small: Path) -> None:
    with Warehouse.open(small) as warehouse:
        [(feature,)] = warehouse.rows(
            "SELECT min(feature) FROM output_features WHERE layer = 0 AND head = 0 AND n_tokens > 0"
        )
    at = {"layer": 0, "head": 0, "feature": feature, "rank": 1, "run_id": 1}
    common = {**at, "n_examples": 20, "holds_share": 1.0, "activation": 1.0, "confirmed": True}
    with Warehouse.open(small, writable=True) as warehouse:
        store(warehouse, (0, 0, feature), 1, "['Paris'] at -1")
        store(warehouse, (0, 0, feature), 2, "['Lyon'] at -1")
        tests = [
            {"kind": "sufficient", "atom": 0, "status": "tested", "share": 0.75, "control_share": 0.05},
            {"kind": "necessary", "atom": 1, "status": "tested", "share": 0.6, "control_share": 0.1},
        ]
        warehouse.append("stated_tests", pa.Table.from_pylist([{**common, **test} for test in tests]))
    with Warehouse.open(small) as warehouse:
        found = head_pages(warehouse, 0, 0, [feature])
        row = next(of for of in found.features if of["feature"] == feature)
        page = " ".join(unescape(feature_page(environment(), found, row)).split())
    assert (
        "on the model: <b>sufficient and necessary</b>; planted in 20 neutral contexts it fires in 75%"
        in page
    )
    assert "of its 1 conditions, breaking one loses at least 60% of the activation" in page
    # The second was not tested.
    assert page.count("on the model: <b>") == 1


def test_the_first_page_compares_methods_and_says_how_it_was_made(site: Path, small_once: Path) -> None:
    page = Read((site / "index.html").read_text("utf-8"))
    with Warehouse.open(small_once) as warehouse:
        paragraphs = methods(describe(warehouse))
        compared = warehouse.rows(
            "SELECT method, n_rules, avg(average_precision) FROM rule_metrics WHERE kind = 'rules'"
            " AND split = 'test' AND example_set = 'all_positions' GROUP BY ALL HAVING avg(average_precision) >= 0"
        )
    text = "".join(page.text)
    assert len(paragraphs) == 3
    for paragraph in paragraphs:
        assert paragraph in text
    titles = {words for words in page.text if re.fullmatch(r"\w+, \d+ rules: [0-9.]+", words)}
    assert titles == {f"{method}, {n} rules: {round(precision, 3):.3f}" for method, n, precision in compared}
    assert titles


def test_beside_its_role_stands_what_a_head_clearly_attends_to_otherwise(small: Path) -> None:
    with Warehouse.open(small, writable=True) as warehouse:
        for head, low in enumerate((0.19, 0.1)):
            warehouse.execute(
                "UPDATE head_roles SET attention = 0.2, attention_low = $low, control = 0.04"
                " WHERE role = 'induction' AND layer = 1 AND head = $head",
                {"head": head, "low": low},
            )
    with Warehouse.open(small) as warehouse:
        heads = {(row["layer"], row["head"]): row for row in site_of(warehouse).heads}
        roles = warehouse.rows("SELECT layer, head, role, attention, attention_low, control FROM head_roles")
    for at, row in heads.items():
        others = [
            (attention - control, role)
            for *head, role, attention, low, control in roles
            if tuple(head) == at and role not in ("bos", "self", row["role"])
            if attention >= 0.05 and low > 3 * control
        ]
        assert row["beside_role"] == (max(others)[1] if others else None)
    assert [heads[1, head]["beside_role"] for head in (0, 1)] == ["induction", None]


def test_a_page_says_what_the_input_features_of_a_rule_fire_on(site: Path, small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        [(layer, head, feature, at, described)] = warehouse.rows(
            "SELECT a.layer, a.head, a.feature, format('L{}.i{}', i.layer, i.feature), i.description"
            " FROM stated_atoms AS a JOIN input_features AS i ON a.member_layer = i.layer AND a.member = i.feature"
            " WHERE i.description LIKE '''%' ORDER BY a.layer, a.head, a.feature, a.rank, i.feature LIMIT 1"
        )
    page = " ".join("".join(Read((site / f"L{layer}H{head}/{feature}.html").read_text("utf-8")).text).split())
    assert f"{at} ({wording.first_tokens(described)})" in page
