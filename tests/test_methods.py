"""Methods: the registry is the one place that says what each is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from attnrules.errors import AttnRulesError
from attnrules.queries.heads import FeatureId
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.queries.skipgrams.finding import find
from attnrules.sql.methods import METHODS, Method, best, names
from attnrules.warehouse import Warehouse

ROOT = Path(__file__).parent.parent
TOY = Method("toy", "rules", "keys by id", match_score="product", finder="tests.toy_method:find")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "toy", TOY)


def mine(path: Path, **options: Any) -> None:
    spec = SkipgramSpec(layers=(0,), heads=(0,), n_features=2, examples_per_split=5, max_rules=8, **options)
    with Warehouse.open(path, writable=True) as warehouse:
        mine_skipgrams(warehouse, spec)


def test_the_table_says_what_the_registry_says(mined_once: Path) -> None:
    with Warehouse.open(mined_once) as warehouse:
        stored = warehouse.rows("SELECT method, kind, meaning, match_score, shares_rank FROM methods")
    said = [(m.name, m.kind, m.meaning, m.match_score, m.shares_rank) for m in METHODS.values()]
    assert sorted(stored) == sorted(said)


def test_what_has_rules_has_a_finder_and_a_match_score() -> None:
    for method in METHODS.values():
        assert (method.finder is None) == (method.kind != "rules"), method.name
        assert method.kind != "rules" or method.match_score is not None, method.name


def test_best_is_a_choice_of_methods_with_rules() -> None:
    assert best()
    assert set(best()) <= set(names("rules"))


@pytest.mark.usefixtures("toy")
def test_a_method_is_a_module_and_an_entry(ingested: Path, attnrules: Any) -> None:
    mine(ingested, method="toy")
    with Warehouse.open(ingested) as warehouse:
        rules = warehouse.rows(
            "SELECT rank, key_feature, query_feature, score FROM rules WHERE method = 'toy'"
        )
        judged = warehouse.rows(
            "SELECT DISTINCT kind, example_set FROM rule_metrics WHERE method = 'toy' ORDER BY ALL"
        )
        known = warehouse.rows("SELECT kind, meaning FROM methods WHERE method = 'toy'")
        feature = FeatureId(0, 0, warehouse.value("SELECT min(feature) FROM rules WHERE method = 'toy'"))
    assert sorted(rules) == sorted(2 * [(n + 1, n, None, 5.0 - n) for n in range(5)])
    assert judged == [("rules", "all_positions"), ("rules", "paper")]
    assert known == [("rules", "keys by id")]
    assert attnrules("check", ingested).code == 0
    assert "toy" in attnrules("show", ingested, str(feature), "--all-methods").out


@pytest.mark.usefixtures("toy")
def test_all_mines_what_was_added(ingested: Path) -> None:
    mine(ingested, method="all")
    with Warehouse.open(ingested) as warehouse:
        mined = {method for (method,) in warehouse.rows("SELECT DISTINCT method FROM rule_metrics")}
        mined &= set(names("rules"))
    assert mined == set(names("rules"))
    assert "toy" in mined


def test_a_method_that_this_version_does_not_know_is_named(
    ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(METHODS, "toy", TOY)
        mine(ingested, method="toy")
    stored = shutil.copy(ingested, tmp_path / "stored.duckdb")
    with pytest.raises(AttnRulesError, match="holds the method 'toy', which this version"):
        mine(Path(stored), method="unigram")


@pytest.mark.usefixtures("toy")
def test_a_finder_that_needs_means_says_so(monkeypatch: pytest.MonkeyPatch, ingested: Path) -> None:
    forgetful = Method("toy", "rules", "x", match_score="carried", finder=METHODS["weighted"].finder)
    monkeypatch.setitem(METHODS, "toy", forgetful)
    with pytest.raises(ValueError, match="must say needs_means"):
        mine(ingested, method="toy")


@pytest.mark.parametrize("name", names("rules"))
def test_the_page_on_mining_has_a_row_for_every_method(name: str) -> None:
    assert f"\n| `{name}`" in (ROOT / "docs/queries.md").read_text("utf-8")


def test_a_baseline_cannot_be_found() -> None:
    with pytest.raises(ValueError, match="always_active has no rules"):
        find("always_active", None)  # type: ignore[arg-type]


def test_no_other_file_spells_a_method_to_decide_by_it() -> None:
    spelled = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("sql/checks", "sql/macros", "sql/views", "queries")
        for path in sorted((ROOT / folder).rglob("*.sql"))
        for name in names("rules")
        if f"'{name}'" in path.read_text("utf-8") and path.name != "make_lists.sql"
    ]
    # The two baselines that make_lists.sql makes are made of magnitude rules.
    assert spelled == []
