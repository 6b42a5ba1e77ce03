"""Texts explained: what fires is what was stored, what rules say is what they say of the corpus."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

import attnrules as package
from attnrules.errors import UsageError
from attnrules.explainer import Explainer
from attnrules.ingest.intervene import LaboratorySpec
from attnrules.queries.explain import STATUSES, explained_features
from attnrules.queries.heads import FeatureId
from attnrules.warehouse import Warehouse
from tests.conftest import Outcome
from tests.planted import PlantedModel
from tests.test_stated_on_model import store, store_planted

CPU = LaboratorySpec(device="cpu")
SEQUENCES = (2, 30, 50, 70, 95)


@pytest.fixture(scope="module")
def path(small_ingested_once: Path, planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted warehouse of few sequences with rules that we wrote. Not to be written to."""
    made = Path(shutil.copy(small_ingested_once, tmp_path_factory.mktemp("explain") / "planted.duckdb"))
    with Warehouse.open(made, writable=True) as warehouse:
        store_planted(warehouse, planted)
        # A second rule of the same feature, of an input feature.
        midnight = (1, 0, planted.output_features[1, 0, "midnight"])
        store(warehouse, midnight, 2, "['sleeps'] at 0")
    return made


@pytest.fixture(scope="module")
def opened(path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(path) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def explainer(opened: Warehouse) -> Explainer:
    return Explainer(opened, CPU, with_model=True)


def text_of(warehouse: Warehouse, seq_id: int) -> str:
    rows = warehouse.rows(
        "SELECT token FROM tokens INNER JOIN vocabulary USING (token_id) WHERE seq_id = $s AND pos > 0 ORDER BY pos",
        {"s": seq_id},
    )
    return " ".join(token for (token,) in rows)


def as_keys(frame: pl.DataFrame) -> set[tuple[int, str]]:
    return set(frame.select("pos", "feature").iter_rows())


@pytest.mark.parametrize("seq_id", SEQUENCES)
def test_what_fires_is_what_was_stored(opened: Warehouse, explainer: Explainer, seq_id: int) -> None:
    features = explained_features(opened)
    found = explainer.explain(text_of(opened, seq_id), features)
    stored = {
        (pos, f"L{layer}H{head}.{feature}"): activation
        for layer, head, feature, pos, activation in opened.rows(
            "SELECT layer, head, feature, pos, activation FROM output_activations"
            " SEMI JOIN stated_rules USING (layer, head, feature) WHERE seq_id = $s AND pos > 0",
            {"s": seq_id},
        )
    }
    fired = found.rows.filter(pl.col("activation").is_not_null())
    assert as_keys(fired) == set(stored)
    for pos, name, activation in fired.select("pos", "feature", "activation").iter_rows():
        assert activation == pytest.approx(stored[pos, name], rel=1e-4)


@pytest.mark.parametrize("seq_id", SEQUENCES)
def test_rules_say_of_a_text_what_they_say_of_the_corpus(
    opened: Warehouse, explainer: Explainer, seq_id: int
) -> None:
    """`stated_at` evaluates a rule at one stored position."""
    features = explained_features(opened)
    found = explainer.explain(text_of(opened, seq_id), features)
    said = {
        (pos, name): rules
        for pos, name, rules in found.rows.select("pos", "feature", "rules").iter_rows()
        if rules
    }
    expected = {}
    for feature in features:
        for pos in range(1, 1 + len(found.tokens)):
            at = {"l": feature.layer, "h": feature.head, "f": feature.feature, "s": seq_id, "p": pos}
            held = opened.rows("SELECT rank FROM stated_at($l, $h, $f, $s, $p) ORDER BY rank", at)
            if held:
                expected[pos, str(feature)] = [rank for (rank,) in held]
    assert said == expected


def test_a_status_says_what_fires_and_what_holds(
    opened: Warehouse, explainer: Explainer, planted: PlantedModel
) -> None:
    french, sport, knocks = (
        f"L0H{head}.{planted.output_features[0, head, name]}"
        for head, name in ((0, "speaks French"), (3, "Canadian sport"), (2, "three knocks"))
    )
    found = explainer.explain("Montreal plays knock Lyon says answers", explained_features(opened))
    status = {(pos, name): said for pos, name, said in found.rows.select("pos", "feature", "status").rows()}
    # "position 9.." does not hold yet; one knock is not three.
    assert status[2, sport] == STATUSES[1]
    assert status[5, french] == STATUSES[0]
    assert status[6, knocks] == STATUSES[2]


def test_a_feature_that_is_named_twice_is_explained_once(opened: Warehouse, explainer: Explainer) -> None:
    text, features = text_of(opened, SEQUENCES[0]), explained_features(opened)
    once, twice = (explainer.explain(text, [*features, *more]) for more in ((), features))
    assert twice.rows.equals(once.rows)
    assert (twice.left_out, bool(once.rows.height)) == (once.left_out, True)


def test_without_the_model_rules_of_tokens_say_the_same(opened: Warehouse, explainer: Explainer) -> None:
    features = explained_features(opened)
    alone = Explainer(opened, CPU, with_model=False)
    [of_features] = [f for f in features if f.layer == 1]
    for seq_id in SEQUENCES:
        text = text_of(opened, seq_id)
        without, whole = alone.explain(text, features), explainer.explain(text, features)
        assert without.left_out == {str(of_features): 1}
        assert whole.left_out == {}
        said = [
            rows.filter(pl.col("rules").list.len() > 0, pl.col("feature") != str(of_features))
            .sort("pos", "feature")
            .select("pos", "feature", "rules", "statements", "probability")
            for rows in (without.rows, whole.rows)
        ]
        assert said[0].equals(said[1])
        assert set(without.rows["status"]) <= {STATUSES[3]}
        assert without.rows["activation"].null_count() == without.rows.height


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 0)])
def test_a_token_attends_to_what_was_stored_and_for_the_same_reasons(
    opened: Warehouse, explainer: Explainer, layer: int, head: int
) -> None:
    seq_id, pos = SEQUENCES[1], 7
    [(feature,)] = opened.rows(
        f"SELECT min(feature) FROM output_features WHERE (layer, head) = ({layer}, {head})"
    )
    found = explainer.attended(text_of(opened, seq_id), FeatureId(layer, head, feature), pos)
    stored = dict(
        opened.rows(
            "SELECT key_pos, weight FROM attention_sources"
            f" WHERE (layer, head, seq_id, query_pos) = ({layer}, {head}, {seq_id}, {pos})"
        )
    )
    assert (found.layer, found.head, found.pos) == (layer, head, pos)
    assert {row["pos"]: row["attention"] for row in found.sources} == {
        k: pytest.approx(stored.get(k, 0.0), abs=1e-5) for k in range(pos + 1)
    }
    # Several may get as much: the planted heads attend evenly where they look for nothing.
    chosen = list(dict.fromkeys(row["key_pos"] for row in found.reasons))
    most = sorted((weight for k, weight in stored.items() if k), reverse=True)[:3]
    assert [stored[k] for k in chosen] == [pytest.approx(weight, abs=1e-5) for weight in most]
    for k in chosen:
        terms = opened.rows(
            f"SELECT key_feature, query_feature, logit FROM attention_terms({layer}, {head}, {seq_id}, {pos}, {k})"
        )
        logit = {(i, j): value for i, j, value in terms}
        shown = [row for row in found.reasons if row["key_pos"] == k]
        assert len(shown) == min(6, len(terms))
        for row, (_, _, value) in zip(shown, terms, strict=False):
            assert row["logit"] == pytest.approx(logit[row["key_feature"], row["query_feature"]], abs=1e-4)
            assert row["logit"] == pytest.approx(value, abs=1e-4)


def test_what_is_not_there_attends_to_nothing(opened: Warehouse, explainer: Explainer) -> None:
    with pytest.raises(UsageError, match="position 3: the text has tokens 1 to 2"):
        explainer.attended("Paris speaks", FeatureId(0, 0, 0), 3)
    with pytest.raises(UsageError, match=r"L0H9.1: not in this warehouse, which holds the features of L0H0"):
        explainer.attended("Paris", FeatureId(0, 9, 1), 1)
    with pytest.raises(UsageError, match="where the model runs"):
        Explainer(opened, CPU, with_model=False).attended("Paris", FeatureId(0, 0, 0), 1)


def test_the_stored_activations_are_seen_again(opened: Warehouse, explainer: Explainer) -> None:
    with opened.session():
        before = opened.value("SELECT count(*) FROM input_activations")
        explainer.explain("Paris", explained_features(opened))
        assert opened.value("SELECT count(*) FROM input_activations") == before > 0


def test_heads_layers_and_features_choose(opened: Warehouse) -> None:
    assert {f.head for f in explained_features(opened, heads=(2,))} == {2}
    assert {f.layer for f in explained_features(opened, layers=(1,))} == {1}
    chosen = explained_features(opened, heads=(1,))[0]
    assert explained_features(opened, features=(chosen,)) == [chosen]
    with pytest.raises(UsageError, match=r"L7H0.1: has no stated rules"):
        explained_features(opened, features=(FeatureId(7, 0, 1),))
    with pytest.raises(UsageError, match=r"those of L0H0, .*L1H0 do"):
        explained_features(opened, layers=(9,))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((" ",), "the text is empty"),
        (("Paris " * 80,), "the text has 80 tokens; with BOS the context of the model holds 80"),
        (("Paris", "--features", "L0H0.9999"), "L0H0.9999: has no stated rules"),
        (("Paris", "--features", "cats"), "'cats': not a feature"),
        (("Paris", "--heads", "7"), "no feature of these layers and heads has stated rules"),
        (("Paris", "--model", "/nowhere"), "/nowhere"),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    attnrules: Callable[..., Outcome], path: Path, arguments: tuple[str, ...], words: str
) -> None:
    outcome = attnrules("explain", path, *arguments, "--no-model", "--device", "cpu")
    assert (outcome.code != 0, outcome.out) == (True, "")
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_warehouse_without_stated_rules_says_how_to_find_them(
    attnrules: Callable[..., Outcome], small_ingested_once: Path
) -> None:
    outcome = attnrules("explain", small_ingested_once, "Paris")
    assert (outcome.code, outcome.out) == (2, "")
    assert "mine skipgrams W --method stated" in outcome.err


def test_the_command_says_it_token_by_token(
    attnrules: Callable[..., Outcome], path: Path, planted: PlantedModel
) -> None:
    french = f"L0H0.{planted.output_features[0, 0, 'speaks French']}"
    told = attnrules("explain", path, "Paris fox speaks", "--device", "cpu", "--features", french)
    assert told.code == 0
    assert [line for line in told.out.splitlines() if line[:4].strip().isdigit()] == [
        "   1  'Paris'", "   2  'fox'", "   3  'speaks'"
    ]  # fmt: skip
    assert told.out.index("'speaks'") < told.out.index(french)
    assert "fires, a rule says so: 1" in told.out
    as_json = json.loads(
        attnrules("explain", path, "Paris fox speaks", "--no-model", "--features", french, "--json").out
    )
    [row] = as_json["rows"]
    assert (row["pos"], row["rules"], row["status"]) == (3, [1], "rules alone")
    with package.open(path) as wh:
        frame = wh.explain("Paris fox speaks", features=french, device="cpu")
    assert frame.select("pos", "feature", "status").rows() == [(3, french, STATUSES[0])]
