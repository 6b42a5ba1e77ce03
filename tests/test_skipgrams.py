"""Mining against the planted truth, and against a slow reading of the definitions."""

from __future__ import annotations

import math
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from attnrules.errors import UsageError
from attnrules.queries.arrays import mix32, top_k
from attnrules.queries.heads import FeatureId, HeadScores
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.queries.skipgrams.weights import magnitude_rules, unigram_rules
from attnrules.warehouse import Warehouse
from tests import slow, slow_stated
from tests.planted import PlantedModel

SPLITS = ("train", "val", "test")


def mine(path: Path, **options: Any) -> None:
    with Warehouse.open(path, writable=True) as warehouse:
        mine_skipgrams(
            warehouse,
            SkipgramSpec(**{"method": "all", "examples_per_split": 10, "n_features": None, **options}),
        )


# --- the planted truth -----------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["paper", "model"])
def test_planted_pairs_are_ranked_first(mined_once: Path, planted: PlantedModel, scaling: str) -> None:
    with Warehouse.open(mined_once) as warehouse:
        found = defaultdict(list)
        for layer, head, feature, key, query in warehouse.rows(
            "SELECT layer, head, feature, key_feature, query_feature FROM rules"
            " WHERE method = 'magnitude' AND scaling = $scaling ORDER BY layer, head, feature, rank",
            {"scaling": scaling},
        ):
            found[layer, head, feature].append((key, query))
    assert len(found) >= 15
    for at, pairs in planted.planted_pairs.items():
        if at in found:
            assert found[at][: len(pairs)] == pairs, at


@pytest.mark.parametrize("scaling", ["paper", "model"])
def test_planted_rules_predict_perfectly(mined_once: Path, planted: PlantedModel, scaling: str) -> None:
    rows = rates_of(mined_once, planted, "magnitude", scaling)
    judged = 0
    for at, _, split, n_rules, *rates in rows:
        if n_rules >= len(planted.skipgram_rules[at]):
            assert rates == [1, 1, 1], (at, split, n_rules)
            judged += 1
    assert judged >= 12 * len(SPLITS)


def test_important_pairs_predict_perfectly(mined_once: Path, planted: PlantedModel) -> None:
    # Pairs that no train example shows are missing, which the examples that look like these do not tell.
    rows = rates_of(mined_once, planted, "importance", "paper")
    assert len(rows) >= 12 * len(SPLITS)
    for at, example_set, split, n_rules, precision, recall, _ in rows:
        assert precision == 1, (at, split, n_rules)
        assert recall == 1 or example_set == "all_positions", (at, split, n_rules)


def test_unigrams_are_the_planted_keys(mined_once: Path, planted: PlantedModel) -> None:
    found = defaultdict(set)
    with Warehouse.open(mined_once) as warehouse:
        for *at, key in warehouse.rows(
            "SELECT layer, head, feature, key_feature FROM rules WHERE method = 'unigram' AND value_score > 1e-6"
        ):
            found[tuple(at)].add(key)
    expected = {at: {key for key, _ in pairs} for at, pairs in planted.planted_pairs.items() if at in found}
    assert len(expected) >= 15
    assert found == expected
    for at, _, split, n_rules, _, recall, _ in rates_of(mined_once, planted, "unigram", "paper"):
        assert recall == 1 or n_rules < len(found[at]), (at, split, n_rules)


def rates_of(path: Path, planted: PlantedModel, method: str, scaling: str) -> list[list[Any]]:
    """(feature, set, split, n, precision, recall, F1) of the lists of features that are skip-grams."""
    with Warehouse.open(path) as warehouse:
        rows = warehouse.rows(
            "SELECT layer, head, feature, example_set, split, n_rules, precision, recall, f1 FROM rule_metrics"
            " WHERE method = $method AND scaling = $scaling",
            {"method": method, "scaling": scaling},
        )
    return [[row[:3], *row[3:]] for row in rows if row[:3] in planted.skipgram_rules]


# --- examples --------------------------------------------------------------------------------------


def examples_of(path: Path) -> set[tuple[Any, ...]]:
    with Warehouse.open(path) as warehouse:
        return set(warehouse.rows("SELECT layer, head, feature, split, label, seq_id, pos FROM examples"))


def test_examples_are_thirds_of_each_label(mined_once: Path) -> None:
    with Warehouse.open(mined_once) as warehouse:
        sizes = warehouse.rows("SELECT count(*) FROM examples GROUP BY layer, head, feature, split, label")
    assert set(sizes) == {(10,)}


def test_positives_are_the_strongest_sequences_at_their_maximum(mined_once: Path) -> None:
    with Warehouse.open(mined_once) as warehouse:
        activations = defaultdict(dict)
        for layer, head, feature, seq, pos, activation in warehouse.rows(
            "SELECT layer, head, feature, seq_id, pos, activation FROM output_activations"
        ):
            activations[layer, head, feature].setdefault(seq, {})[pos] = activation
        examples = warehouse.rows("SELECT layer, head, feature, label, seq_id, pos, activation FROM examples")
    positives = defaultdict(set)
    for layer, head, feature, label, seq, pos, activation in examples:
        if label:
            positives[layer, head, feature].add((seq, pos, activation))
        else:
            assert seq not in activations[layer, head, feature]
            assert activation == 0
            assert 1 <= pos < 32
    for at, chosen in positives.items():
        strongest = sorted((-max(row.values()), seq) for seq, row in activations[at].items())[:30]
        expected = {
            (seq, min(p for p, a in activations[at][seq].items() if a == -top), -top)
            for top, seq in strongest
        }
        assert chosen == expected


def test_a_draw_does_not_depend_on_what_else_is_mined(mined_once: Path, ingested: Path) -> None:
    layer, head, feature = min(examples_of(mined_once))[:3]
    mine(ingested, features=(FeatureId(layer, head, feature),), method="unigram")
    alone = examples_of(ingested)
    assert alone == {e for e in examples_of(mined_once) if e[:3] == (layer, head, feature)}


def test_another_seed_draws_other_negatives(mined_once: Path, ingested: Path) -> None:
    mine(ingested, seed=1, method="unigram", baselines=False, example_sets=("paper",))
    negatives = [{e for e in examples_of(path) if not e[4]} for path in (mined_once, ingested)]
    assert negatives[0] != negatives[1]


def test_mining_again_replaces(mined: Path) -> None:
    def counts() -> list[Any]:
        with Warehouse.open(mined) as warehouse:
            judged = ("rule_evaluations", "rule_scores", "rule_metric_values")
            return [
                *(warehouse.value(f"SELECT count(*) FROM {table}") for table in ("examples", "rules")),
                *(
                    warehouse.value(f"SELECT count(*) FROM {table} WHERE method = 'unigram'")
                    for table in judged
                ),
            ]

    before = counts()
    mine(mined, method="unigram", layers=(0,), heads=(0,))
    assert counts() == before


MINED_TABLES = ("examples", "rules", "rule_evaluations", "rule_scores", "rule_metric_values")


def stored(path: Path, table: str, where: str) -> list[int]:
    """A hash of each row, in order: half a million rows as text would take seconds."""
    with Warehouse.open(path) as warehouse:
        rows = warehouse.columns(f"SELECT hash(t) AS hashed FROM {table} AS t WHERE {where}")
    return sorted(rows["hashed"].tolist())


def test_a_failed_mining_leaves_everything_as_it_was(mined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import attnrules.queries.skipgrams.mining as module

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    before = [stored(mined, table, "true") for table in MINED_TABLES]
    monkeypatch.setattr(module, "evaluate", fail)
    with pytest.raises(KeyboardInterrupt):
        mine(mined, seed=5)
    assert [stored(mined, table, "true") for table in MINED_TABLES] == before


def test_an_interrupted_mining_keeps_the_heads_before(mined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import attnrules.queries.skipgrams.mining as module

    again: dict[str, Any] = {
        "method": "unigram",
        "seed": 5,
        "layers": (0,),
        "heads": (0, 1),
        "baselines": False,
    }
    before, whole = mined.with_name("before.duckdb"), mined.with_name("whole.duckdb")
    shutil.copy(mined, before)
    shutil.copy(mined, whole)
    mine(whole, **again)
    judge = module.evaluate
    judged = []

    def interrupted(warehouse: Warehouse, layer: int, head: int, *rest: Any, **named: Any) -> None:
        judged.append((layer, head))
        if len(judged) == 2:
            raise KeyboardInterrupt
        judge(warehouse, layer, head, *rest, **named)

    monkeypatch.setattr(module, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mine(mined, **again)
    layer, head = judged[0]
    first = f"(layer, head) = ({layer}, {head})"
    for table in MINED_TABLES:
        assert stored(mined, table, f"NOT {first}") == stored(before, table, f"NOT {first}"), table
    for table in ("examples", "rules"):
        assert stored(mined, table, first) == stored(whole, table, first), table
    with Warehouse.open(mined) as warehouse:
        run_id, status = warehouse.rows("SELECT run_id, status FROM runs ORDER BY run_id DESC LIMIT 1")[0]
        judged_by = warehouse.rows(f"SELECT DISTINCT run_id FROM rule_evaluations WHERE {first}")
    assert (status, judged_by) == ("interrupted", [(run_id,)])


def test_a_wrong_feature_of_a_later_head_is_found_before_anything_is_mined(mined: Path) -> None:
    before = [stored(mined, table, "true") for table in MINED_TABLES]
    layer, head, feature = min(examples_of(mined))[:3]
    last = max(examples_of(mined))
    with pytest.raises(UsageError, match="has features 0 to"):
        mine(mined, features=(FeatureId(layer, head, feature), FeatureId(last[0], last[1], 99999)), seed=5)
    assert [stored(mined, table, "true") for table in MINED_TABLES] == before


# --- predictions and metrics, read slowly from the definitions --------------------------------------------------


def randomise_weights(path: Path, seed: int) -> None:
    """Give two heads small random integers as weights: ties and negative scores abound."""
    rng = np.random.default_rng(seed)
    with Warehouse.open(path, writable=True) as warehouse, warehouse.session() as connection:
        for layer, head in ((0, 0), (1, 0)):
            at = {"layer": layer, "head": head}
            for table, columns in (
                ("projections", ("key_vector", "query_vector", "value_vector")),
                ("output_features", ("encoder",)),
                ("feature_heads", ("encoder",)),
            ):
                n = warehouse.value(f"SELECT count(*) FROM {table} WHERE layer = $layer AND head = $head", at)
                for column in columns:
                    vectors = rng.integers(-1, 2, size=(n, 16)).astype(np.float32)
                    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 16)
                    connection.register(
                        "drawn", pa.table({"feature": np.arange(n, dtype=np.int32), "vector": values})
                    )
                    warehouse.execute(
                        f"UPDATE {table} SET {column} = drawn.vector FROM drawn"
                        f" WHERE {table}.feature = drawn.feature AND layer = $layer AND head = $head",
                        at,
                    )
                    connection.unregister("drawn")


METRICS = "precision, recall, f1, spearman, average_precision, f1_at_threshold, r2"


@settings(max_examples=4, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    seed=st.integers(0, 2**16),
    bos_keys=st.booleans(),
    negative_values=st.booleans(),
    aggregation=st.sampled_from(["max", "sum", "max_of_sums", "sum_of_maxima"]),
    scaling=st.sampled_from(["paper", "model"]),
)
def test_predictions_and_metrics_agree_with_the_definitions(
    small_ingested_once: Path,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    bos_keys: bool,
    negative_values: bool,
    aggregation: str,
    scaling: str,
) -> None:
    path = tmp_path_factory.mktemp("random") / "random.duckdb"
    shutil.copy(small_ingested_once, path)
    randomise_weights(path, seed)
    mine(
        path,
        layers=(0, 1),
        heads=(0,),
        examples_per_split=4,
        num_values=12,
        num_queries=10,
        max_rules=30,
        n_features=2,
        scaling=scaling,
        bos_keys=bos_keys,
        negative_values=negative_values,
        aggregation=aggregation,
        example_sets=("paper", "bins", "uniform", "all_positions"),
        held_out=3,
        baselines=False,
        seed=seed,
    )
    with Warehouse.open(path) as warehouse:
        predictors = {
            head: slow.Predictor(
                slow.Tables(warehouse, *head, seed=seed, bos_keys=bos_keys),
                slow.stored_lists(warehouse, *head),
                aggregation,
            )
            for head in ((0, 0), (1, 0))
        }
        texts = slow_stated.texts(warehouse)
        found = warehouse.rows(
            "SELECT layer, head, feature, method, scaling, example_set, n_rules, split, seq_id, pos,"
            " activation, prediction FROM rule_predictions"
        )
        everywhere = warehouse.rows(
            "SELECT layer, head, feature, method, scaling, example_set, n_rules FROM rule_evaluations"
            " WHERE example_set = 'all_positions'"
        )
        metrics = {
            row[:8]: row[8:]
            for row in warehouse.rows(
                "SELECT layer, head, feature, method, scaling, example_set, n_rules, split,"
                f" {METRICS} FROM rule_metrics"
            )
        }
    groups: dict[tuple[Any, ...], list[tuple[float, float]]] = defaultdict(list)

    def predict(at: list[Any], place: tuple[int, int], n_rules: int) -> float:
        predictor, of = predictors[at[0], at[1]], tuple(at[2:5])
        if of[1] == "stated":
            return slow_stated.predicted(texts[place[0]], place[1], predictor.lists[of][:n_rules])
        return predictor.predict(of, place, n_rules)

    for *at, n_rules, split, seq, pos, activation, prediction in found:
        expected = predict(at, (seq, pos), n_rules)
        # Sums are taken in multiples of 2^-48.
        close = 1e-11 if at[3].startswith("weighted") else 1e-12
        assert prediction == pytest.approx(expected, rel=1e-9, abs=close), (at, n_rules, seq, pos)
        groups[(*at, n_rules, split)].append((activation, prediction))
    assert {at[5] for at in groups} == {"paper", "bins", "uniform"}
    for *at, n_rules in everywhere:
        tables = predictors[at[0], at[1]].tables
        for split, sequences in slow.held_out_sequences(tables, 3).items():
            for place in (place for place in tables.positions if place[0] in sequences):
                prediction = predict(at, place, n_rules)
                groups[(*at, n_rules, split)].append((tables.out[at[2]].get(place, 0.0), prediction))
    # A feature without an active position in a split of all positions has nothing to be judged on there.
    groups = {at: rows for at, rows in groups.items() if at[5] != "all_positions" or any(a for a, _ in rows)}
    assert metrics.keys() == groups.keys()
    for at, rows in groups.items():
        # Sums at all positions are not stored: here they are made in another order, and their last digits may
        # part what ties, or what cancels from 0. Tiny warehouses compare these where sums are exact.
        if at[5] == "all_positions" and (aggregation != "max" or at[3].startswith("weighted")):
            continue
        train = groups.get((*at[:7], "train"), [])
        *plain, f1_at_threshold, r2 = metrics[at]
        expected = [*slow.rates(rows, 0.0), slow.spearman(rows), slow.average_precision(rows)]
        assert plain == pytest.approx(expected, abs=1e-6), at
        least = slow.best_threshold(train)
        expected_f1 = None if least is None else pytest.approx(slow.rates(rows, least)[2], abs=1e-6)
        assert f1_at_threshold == expected_f1, at
        if train and (expected_r2 := slow.r2(rows, slow.fitted_line(train))) is not None:
            assert r2 == pytest.approx(expected_r2, rel=1e-6, abs=1e-5), at


# --- ranking by weights ----------------------------------------------------------------------------


matrices = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(deadline=None)
@given(rng=matrices, k=st.integers(1, 9))
def test_top_k_breaks_ties_by_column(rng: np.random.Generator, k: int) -> None:
    scores = rng.integers(-2, 3, size=(4, 7)).astype(float)
    expected = [sorted(range(7), key=lambda c: (-row[c], c))[:k] for row in scores]
    assert top_k(scores, k).tolist() == expected


@settings(deadline=None)
@given(rng=matrices, size=st.sampled_from([1, 400]), negative_values=st.booleans())
def test_magnitude_ranks_by_sign_then_log_score(
    rng: np.random.Generator, size: int, negative_values: bool
) -> None:
    draw = lambda n: rng.integers(-2, 3, size=(n, 2)).astype(float)  # noqa: E731
    scores = HeadScores(draw(6) * size, draw(6), draw(6), draw(3))
    rules = magnitude_rules(
        scores, np.array([0, 2]), num_values=4, num_queries=3, max_rules=10, negative_values=negative_values
    )
    for feature in (0, 2):
        v = [float(scores.values[i] @ scores.encoders[feature]) for i in range(6)]
        keys = sorted(range(6), key=lambda i: (-(abs(v[i]) if negative_values else v[i]), i))[:4]
        s = {(i, j): float(scores.keys[i] @ scores.queries[j]) for i in keys for j in range(6)}
        pairs = [(i, j) for i in keys for j in sorted(range(6), key=lambda j: (-s[i, j], j))[:3]]

        def order(pair: tuple[int, int]) -> tuple[float, ...]:
            sign = math.copysign(1, v[pair[0]]) if v[pair[0]] else 0  # noqa: B023
            log = sign * (s[pair] + math.log(abs(v[pair[0]]))) if sign else 0.0  # noqa: B023
            return (-sign, -round(log, 9), *pair)

        mine_ = rules.feature == feature
        assert rules.query_feature is not None
        found = list(zip(rules.key_feature[mine_].tolist(), rules.query_feature[mine_].tolist(), strict=True))
        assert [order(p)[:2] for p in found] == [order(p)[:2] for p in sorted(pairs, key=order)[:10]]
        assert rules.rank[mine_].tolist() == list(range(1, 11))


def test_scores_too_large_for_a_double_keep_their_order() -> None:
    scores = HeadScores(np.array([[800.0], [900.0]]), np.ones((1, 1)), np.ones((2, 1)), np.ones((1, 1)))
    rules = magnitude_rules(
        scores, np.array([0]), num_values=2, num_queries=1, max_rules=4, negative_values=False
    )
    assert rules.key_feature.tolist() == [1, 0]
    assert np.isposinf(rules.score).all()


def test_unigrams_keep_the_sign_of_large_negative_values() -> None:
    scores = HeadScores(np.ones((3, 1)), np.ones((3, 1)), np.array([[1.0], [-3.0], [2.0]]), np.ones((1, 1)))
    rules = unigram_rules(scores, np.array([0]), num_values=2, max_rules=4, negative_values=True)
    assert rules.key_feature.tolist() == [1, 2]
    assert rules.value_score.tolist() == [-3.0, 2.0]


@given(number=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_mix32_is_the_finaliser_of_murmurhash3(mined_once: Path, number: int) -> None:
    with Warehouse.open(mined_once) as warehouse:
        assert warehouse.value("SELECT mix32($n)", {"n": number}) == slow.mix32(number)
    assert mix32(np.array([number])).tolist() == [slow.mix32(number)]


def shortest_good_list(rows: list[dict[str, Any]], split: str) -> dict[str, Any] | None:
    """Of the metrics of one feature and set, the row of `split` of the list that best_lists is to choose."""
    judged = [row for row in rows if row["split"] == split and row["average_precision"] is not None]
    good = [
        row
        for row in judged
        if row["average_precision"] >= 0.9 * max(other["average_precision"] for other in judged)
    ]
    order = ("n_rules_used", "n_rules", "method")
    good.sort(key=lambda row: (row[order[0]], -row["average_precision"], *(row[name] for name in order[1:])))
    return good[0] if good else None


def test_the_shortest_good_list_is_chosen_before_test_is_seen(mined: Path) -> None:
    with Warehouse.open(mined, writable=True) as warehouse:
        # One stated rule says all of a planted feature: no list of another method would be chosen.
        warehouse.execute("DELETE FROM rule_metric_values WHERE method = 'stated'")
        metrics = (
            warehouse.sql("FROM rule_metrics WHERE kind = 'rules' AND scaling = 'paper'").pl().to_dicts()
        )
        chosen = warehouse.sql("FROM best_lists").pl().to_dicts()
    by_feature = defaultdict(list)
    for row in metrics:
        by_feature[row["layer"], row["head"], row["feature"], row["example_set"]].append(row)
    found = {(row["layer"], row["head"], row["feature"], row["example_set"]): row for row in chosen}
    n_lengths = set()
    for at, rows in by_feature.items():
        split = "train" if at[3] == "all_positions" else "val"
        expected = shortest_good_list(rows, split)
        assert (at in found) == (expected is not None)
        if expected is None or found[at]["scaling"] != "paper":
            continue
        row, names = found[at], ("method", "n_rules", "n_rules_used")
        assert [row[name] for name in names] == [expected[name] for name in names], at
        assert (row["chosen_on"], row["chosen_average_precision"]) == (split, expected["average_precision"])
        [on_test] = [
            other
            for other in rows
            if other["split"] == "test" and all(other[name] == expected[name] for name in names)
        ]
        for name in ("average_precision", "base_rate", "ceiling_average_precision", "spearman"):
            assert row[name] == on_test[name], (at, name)
        for name in ("precision", "recall", "f1"):
            assert row[name] == on_test[f"{name}_at_threshold"], (at, name)
        n_lengths.add(row["n_rules_used"])
    assert len(n_lengths) > 1


def test_the_summary_of_a_feature_leads_with_all_positions(mined_once: Path) -> None:
    with Warehouse.open(mined_once) as warehouse:
        names = [row[0] for row in warehouse.rows("SELECT column_name FROM (DESCRIBE feature_summary)")]
        differing = warehouse.rows(
            "SELECT s.feature FROM feature_summary AS s INNER JOIN best_lists AS b USING (layer, head, feature)"
            " WHERE b.example_set = 'all_positions' AND (s.all_positions_average_precision, s.all_positions_method)"
            " IS DISTINCT FROM (b.average_precision, b.method)"
        )
    assert names.index("all_positions_method") < names.index("best_method")
    assert differing == []
