"""Rules learnt from the corpus, against autograd, slow readings of the tables and the planted truth."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnrules.queries.bootstrap import interval_ends
from attnrules.queries.card.redundancy import minimal_rules
from attnrules.queries.evaluation import SequenceBootstrap, bootstrap_weights, metric_replicates
from attnrules.queries.heads import FeatureId
from attnrules.queries.intervals import wilson
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.queries.skipgrams.gates import choose_queries
from attnrules.queries.skipgrams.importance import closed_form_importance
from attnrules.sql.methods import names
from attnrules.warehouse import Warehouse
from tests import slow
from tests.planted import PlantedModel


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1).map(np.random.default_rng), st.integers(1, 4), st.integers(1, 5))
def test_importance_is_the_gradient(rng: np.random.Generator, n_examples: int, n_positions: int) -> None:
    at_keys = rng.exponential(1, (n_examples, n_positions, 3)) * (
        rng.random((n_examples, n_positions, 3)) < 0.5
    )
    at_query = rng.exponential(1, (n_examples, 4)) * (rng.random((n_examples, 4)) < 0.5)
    pos = rng.integers(0, n_positions, n_examples)
    s, v = rng.normal(0, 2, (3, 4)), rng.normal(size=3)
    found = closed_form_importance(at_keys, at_query, pos, s, v)
    up_to_q = [torch.from_numpy(a[: q + 1]) for a, q in zip(at_keys, pos, strict=True)]
    of_query = [torch.from_numpy(a) for a in at_query]
    expected = slow.autograd_importance(up_to_q, of_query, torch.from_numpy(s), torch.from_numpy(v)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * max(1e-300, np.abs(expected).max()))


def slow_queries(
    carried: np.ndarray, n_base: int, active: list[set[int]], n_queries: int
) -> tuple[list[int], float, float]:
    """The queries that one rule takes, the share of what it adds that they hold, and of all positions."""
    base, rest = range(n_base), range(n_base, len(carried))

    def added(at: list[int]) -> float:
        when_active = sum(carried[p] for p in at if p in rest) / len(rest)
        return float(when_active - sum(carried[p] for p in at if p in base) / len(base))

    def shares(queries: list[int]) -> tuple[float, float]:
        at = [p for p in range(len(carried)) if active[p] & set(queries)]
        return added(at) / added([*base, *rest]), sum(p in base for p in at) / n_base

    taken: list[int] = []
    while len(taken) < 8:
        worth = {j: np.subtract(*shares([*taken, j])) for j in range(n_queries)}
        best = max(worth, key=lambda j: (round(worth[j], 9), -j))
        if worth[best] - (np.subtract(*shares(taken)) if taken else 0) < 0.01:
            break
        taken.append(best)
    return sorted(taken), *shares(taken)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1).map(np.random.default_rng), st.integers(1, 6), st.integers(1, 8))
def test_queries_are_the_few_that_say_when_a_rule_counts(
    rng: np.random.Generator, n_base: int, n_active: int
) -> None:
    n = n_base + n_active
    on = rng.random((n, 12)) < 0.2
    # Rules 0 and 1 count where one query is active; rule 2 counts anywhere.
    carried = rng.integers(1, 9, (n, 3)) * np.c_[on[:, :2] | (rng.random((n, 2)) < 0.05), np.ones(n, bool)]
    carried = carried * np.r_[np.full(n_base, 0.1), np.ones(n_active)][:, None]
    place, query = np.nonzero(on)
    found = choose_queries(carried, n_base, place, query, 12)
    active = [set(np.flatnonzero(row).tolist()) for row in on]
    for rule, queries in enumerate(found):
        weights = np.r_[np.full(n_base, -1 / n_base), np.full(n_active, 1 / n_active)]
        if weights @ carried[:, rule] <= 0:
            assert not len(queries)
            continue
        taken, held, opened = slow_queries(carried[:, rule], n_base, active, 12)
        stated = held >= 0.85 and opened <= 0.5
        assert queries.tolist() == (taken if stated else []), (held, opened)


HEADS = [(0, 0), (1, 0)]


@pytest.mark.parametrize(("layer", "head"), HEADS)
def test_weighted_scores_are_differences_of_means(mined_once: Path, layer: int, head: int) -> None:
    with Warehouse.open(mined_once) as warehouse:
        tables = slow.Tables(warehouse, layer, head)
        lists = slow.stored_lists(warehouse, layer, head)
    found = {
        f: rules
        for (f, method, scaling), rules in lists.items()
        if (method, scaling) == ("weighted", "paper")
    }
    assert found
    for f, rules in found.items():
        expected = slow.weighted(tables, f)
        for _, i, _, _, _, score in rules:
            assert score == pytest.approx(expected[i], rel=1e-5), (f, i)
        scores = [rule[-1] for rule in rules]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(("layer", "head"), HEADS)
def test_mined_support_counts_the_whole_corpus(mined_once: Path, layer: int, head: int) -> None:
    names = "support_positions, support_sequences, contribution, precision, recall, lift, lift_low, lift_high"
    with Warehouse.open(mined_once) as warehouse:
        tables = slow.Tables(warehouse, layer, head)
        rules = warehouse.rows(
            f"SELECT feature, key_feature, query_feature, {names} FROM rules WHERE method = 'mined'"
            " AND layer = $layer AND head = $head AND rank % 7 = 1",
            {"layer": layer, "head": head},
        )
    assert rules
    for f, i, j, *support in rules[:12]:
        expected = slow.mined_support(tables, f, i, j)
        assert dict(zip(names.split(", "), support, strict=True)) == pytest.approx(expected, rel=1e-5), (
            f,
            i,
            j,
        )


@pytest.mark.parametrize(("layer", "head"), HEADS)
def test_mined_scores_of_planted_pairs_are_those_of_certainty(
    mined_once: Path, planted: PlantedModel, layer: int, head: int
) -> None:
    # The feature is active wherever they match, so that the Wilson interval is that of n of n train positions.
    with Warehouse.open(mined_once) as warehouse:
        tables = slow.Tables(warehouse, layer, head)
        lists = slow.stored_lists(warehouse, layer, head)
    planted_here = {f: pairs for (*at, f), pairs in planted.skipgram_rules.items() if at == [layer, head]}
    judged = 0
    for f, pairs in planted_here.items():
        for _, i, j, _, _, score in lists[f, "mined", "paper"]:
            if (i, j) in pairs:
                n = sum(seq in tables.train - tables.held_out[f] for seq, _ in tables.matches(i, j))
                assert score == pytest.approx(n / (n + 1.959963984540054**2)), (f, i, j)
                judged += 1
    assert judged >= 8


@pytest.mark.parametrize(("layer", "head"), HEADS)
def test_stored_importance_is_the_gradient(mined_once: Path, layer: int, head: int) -> None:
    with Warehouse.open(mined_once) as warehouse:
        tables = slow.Tables(warehouse, layer, head)
        lists = slow.stored_lists(warehouse, layer, head)
    assert tables.train_examples
    for f in tables.train_examples:
        keys = slow.candidate_keys(tables, f, 100, negative_values=False)
        expected = slow.importance(tables, f, sorted(keys), 100, "paper")
        found = [((i, j), score) for _, i, j, _, _, score in lists[f, "importance", "paper"]]
        slow.assert_ranked(found, expected, 4096, by_size=True)


@pytest.mark.parametrize(
    "method", ["weighted", "weighted_signed", "weighted_groups", "weighted_gates", "weighted_pairs"]
)
def test_weighted_rules_find_the_planted_keys(mined_once: Path, planted: PlantedModel, method: str) -> None:
    with Warehouse.open(mined_once) as warehouse:
        found = defaultdict(list)
        for layer, head, feature, key, v in warehouse.rows(
            "SELECT layer, head, feature, key_feature, value_score FROM rules WHERE method = $method"
            " ORDER BY rank",
            {"method": method},
        ):
            if v > 1e-6:
                found[layer, head, feature].append(key)
    judged = 0
    for at, pairs in planted.skipgram_rules.items():
        if at in found:
            assert set(found[at]) <= {key for key, _ in pairs}, at
            judged += 1
    assert judged >= 8


def test_the_best_pair_of_every_key_is_planted(mined_once: Path, planted: PlantedModel) -> None:
    # Other pairs have a query that fires where the planted one does, on fewer tokens.
    judged = 0
    with Warehouse.open(mined_once) as warehouse:
        for *at, key, query in warehouse.rows(
            "SELECT layer, head, feature, key_feature, query_feature FROM rules WHERE method = 'weighted_pairs'"
            " AND value_score > 1e-6"
            " QUALIFY row_number() OVER (PARTITION BY layer, head, feature, key_feature ORDER BY rank) = 1"
        ):
            if tuple(at) in planted.skipgram_rules:
                assert (key, query) in planted.skipgram_rules[tuple(at)], (at, key, query)
                judged += 1
    assert judged >= 12


# `stated` has planted rules of its own, in test_stated.
@pytest.mark.parametrize(
    "method", [method for method in names("rules") if method not in ("unigram", "stated")]
)
def test_planted_features_are_predicted(mined_once: Path, planted: PlantedModel, method: str) -> None:
    with Warehouse.open(mined_once) as warehouse:
        rows = warehouse.rows(
            "SELECT layer, head, feature, f1_at_threshold FROM rule_metrics WHERE method = $method"
            " AND scaling = 'paper' AND example_set = 'paper' AND split = 'test' AND n_rules = 256",
            {"method": method},
        )
    f1 = [f1 for *at, f1 in rows if tuple(at) in planted.skipgram_rules]
    assert len(f1) >= 12
    assert min(f1) == 1


def test_gates_are_the_groups_with_queries_that_hold_most_of_them(mined_once: Path) -> None:
    with Warehouse.open(mined_once) as warehouse:
        rows = warehouse.rows(
            "SELECT method, layer, head, feature, rank, key_feature, value_score, score, query_feature,"
            " attn_score FROM rules WHERE method IN ('weighted_groups', 'weighted_gates')"
        )
        s = {
            at[:4]: at[4]
            for at in warehouse.rows(
                "SELECT DISTINCT layer, head, key_feature, query_feature,"
                " attn_score(layer, head, key_feature, query_feature) FROM rules WHERE method = 'weighted_gates'"
            )
        }
    groups, gates = (
        {row[1:8] for row in rows if row[0] == method} for method in ("weighted_groups", "weighted_gates")
    )
    assert groups == gates
    pairs: dict[Any, set[tuple[int, int | None]]] = defaultdict(set)
    for _, *rule, key, _, _, query, attn in (row for row in rows if row[0] == "weighted_gates"):
        pairs[tuple(rule)].add((key, query))
        assert (attn is None) == (query is None)
        if query is not None:
            assert attn == pytest.approx(s[rule[0], rule[1], key, query], rel=1e-5, abs=1e-5)
    for found in pairs.values():
        keys, queries = {key for key, _ in found}, {query for _, query in found}
        assert len(found) == len(keys) * len(queries)
        assert len(queries) <= 8
        assert queries == {None} or None not in queries


def test_a_planted_query_is_stated(mined_once: Path, planted: PlantedModel) -> None:
    with Warehouse.open(mined_once) as warehouse:
        rows = warehouse.rows(
            "SELECT layer, head, feature, key_feature, query_feature FROM rules"
            " WHERE method = 'weighted_gates' AND query_feature IS NOT NULL AND value_score > 1e-6"
        )
    stated = defaultdict(set)
    for *at, key, query in rows:
        stated[tuple(at)].add((key, query))
    judged = [at for at in planted.skipgram_rules if at in stated]
    assert len(judged) >= 8
    for at in judged:
        assert stated[at] <= set(planted.skipgram_rules[at]), at


def test_always_active_scores_what_its_base_rate_says(mined_once: Path) -> None:
    with Warehouse.open(mined_once) as warehouse:
        rows = warehouse.rows(
            "SELECT f1, f1_always_active, average_precision, base_rate FROM rule_metrics"
            " WHERE method = 'always_active'"
        )
    assert rows
    for f1, expected, average_precision, base_rate in rows:
        assert (f1, average_precision) == pytest.approx((expected, base_rate))


def test_ceilings_of_an_exact_sae_are_perfect(mined_once: Path) -> None:
    # The planted SAEs reconstruct exactly and its output features are thresholds of z . w.
    with Warehouse.open(mined_once) as warehouse:
        rows = warehouse.rows(
            "SELECT average_precision FROM rule_metrics WHERE kind = 'ceiling' AND split = 'test'"
            " AND average_precision IS NOT NULL"
        )
    assert rows
    assert min(value for (value,) in rows) > 0.999


def test_a_threshold_of_zero_has_intervals(mined_once: Path) -> None:
    # Where everything is predicted 1, the threshold lies 1 below.
    with Warehouse.open(mined_once) as warehouse:
        rows = warehouse.rows(
            "SELECT threshold, f1_at_threshold_low, f1_at_threshold_high FROM rule_metrics"
            " WHERE method = 'always_active' AND example_set = 'paper' AND split = 'test'"
        )
    assert rows
    for threshold, low, high in rows:
        assert threshold == 0
        assert 0 < low < high < 1


def test_a_method_that_finds_no_rule_is_judged(ingested: Path) -> None:
    spec = SkipgramSpec(method="weighted", heads=(0,), layers=(0,), examples_per_split=10, baselines=False)
    with Warehouse.open(ingested, writable=True) as warehouse:
        warehouse.execute("UPDATE feature_heads SET encoder = list_transform(encoder, lambda x: 0.0::FLOAT)")
        mine_skipgrams(warehouse, spec)
        rows = warehouse.rows(
            "SELECT DISTINCT n_rules_used, recall FROM rule_metrics WHERE method = 'weighted' AND n_active > 0"
        )
    assert rows == [(0, 0)]


def test_a_ceiling_without_sources_is_the_bias(ingested: Path) -> None:
    spec = SkipgramSpec(method="unigram", heads=(0,), layers=(0,), examples_per_split=10)
    with Warehouse.open(ingested, writable=True) as warehouse:
        warehouse.execute("DELETE FROM attention_sources")
        mine_skipgrams(warehouse, spec)
        rows = warehouse.rows(
            "SELECT p.prediction, o.preactivation_bias FROM rule_predictions AS p"
            " JOIN output_features AS o USING (layer, head, feature) WHERE p.method LIKE 'ceiling%'"
        )
    assert rows
    for prediction, bias in rows:
        assert prediction == bias


def test_few_rules_say_as_much_as_the_list(mined_once: Path, planted: PlantedModel) -> None:
    with Warehouse.open(mined_once) as warehouse:
        at = next(
            at
            for at in planted.skipgram_rules
            if warehouse.rows(
                "SELECT 1 FROM rules WHERE (layer, head, feature) = ($l, $h, $f) AND method = 'magnitude'",
                dict(zip("lhf", at, strict=True)),
            )
        )
        kept = minimal_rules(warehouse, FeatureId(*at), "magnitude", "paper", bos_keys=False)
    assert kept is not None
    assert len(kept.ranks) <= len(planted.skipgram_rules[at])
    assert kept.f1 >= 0.99 * kept.f1_of_list


@given(st.integers(0, 2**32 - 1).map(np.random.default_rng), st.integers(5, 30))
@settings(max_examples=30, deadline=None)
def test_intervals_hold_the_metrics_of_equal_weights(rng: np.random.Generator, n: int) -> None:
    prediction = -np.sort(-rng.integers(-2, 3, n).astype(float))
    active = rng.random(n) < 0.5
    active[:5] = True
    of_replicates = metric_replicates(prediction, active, np.arange(n), np.ones((n, 3)), 0.0, None)
    (f1, also_f1), *_, (ap, also_ap) = interval_ends(of_replicates).tolist()
    hits = (active & (prediction > 0)).sum()
    assert f1 == also_f1 == pytest.approx(2 * hits / ((prediction > 0).sum() + active.sum()))
    expected = 0.0
    for value in set(prediction.tolist()):
        above = active[prediction >= value]
        expected += active[prediction == value].sum() * above.mean() / active.sum()
    assert ap == also_ap == pytest.approx(expected)


def test_a_command_draws_a_sequence_alike_whatever_it_asked_before() -> None:
    bootstrap = SequenceBootstrap(3, replicates=50)
    for sequences in (np.array([7, 7, 1500]), np.arange(3_000), np.array([2_999, 0, 7])):
        assert (bootstrap.weights(sequences) == bootstrap_weights(sequences, 3, 50)).all()


@pytest.mark.parametrize("n_sequences", [4, 5])
def test_a_feature_active_in_few_sequences_has_no_interval(n_sequences: int) -> None:
    prediction, active, sequence = np.arange(20, 0, -1.0), np.ones(20, bool), np.arange(20) % n_sequences
    of_replicates = metric_replicates(prediction, active, sequence, np.ones((n_sequences, 3)), 0.0, None)
    assert np.isnan(of_replicates).all() == (n_sequences < 5)


@given(st.integers(0, 2**32 - 1).map(np.random.default_rng), st.integers(1, 9), st.integers(1, 250))
@settings(max_examples=50, deadline=None)
def test_intervals_are_quantiles_of_the_replicates_that_have_a_value(
    rng: np.random.Generator, n: int, n_replicates: int
) -> None:
    replicates = rng.random((n, n_replicates))
    replicates[rng.random(replicates.shape) < rng.random((n, 1)) ** 3] = np.nan
    replicates[0] = np.nan
    for row, ends in zip(replicates, interval_ends(replicates).tolist(), strict=True):
        known = row[~np.isnan(row)]
        expected = np.quantile(known, (0.025, 0.975)).tolist() if len(known) else [np.nan, np.nan]
        assert np.array_equal(ends, expected, equal_nan=True)


def test_sequences_are_drawn_like_a_bootstrap_whatever_else_is_judged() -> None:
    weights = bootstrap_weights(np.arange(400), seed=3)
    assert abs(weights.mean() - 1) < 0.02
    assert abs(weights.var() - 1) < 0.05
    assert (bootstrap_weights(np.array([7, 300]), seed=3) == weights[[7, 300]]).all()


@given(hits=st.integers(0, 50), misses=st.integers(0, 50))
def test_wilson_interval_holds_the_share(hits: int, misses: int) -> None:
    low, high = (end.item() for end in wilson(np.array([hits]), np.array([hits + misses])))
    share = hits / max(1, hits + misses)
    # Exactly so: no end lies beyond the share by rounding.
    assert 0 <= low <= share <= high <= 1


def test_sets_hold_what_they_say(mined_once: Path, tmp_path: Path, attnrules: Any) -> None:
    import shutil

    path = Path(shutil.copy(mined_once, tmp_path / "sets.duckdb"))
    outcome = attnrules(
        *("mine", "skipgrams", path, "--method", "unigram", "--features", "all", "--layers", "0"),
        *(
            "--heads",
            "0",
            "--examples-per-split",
            "3",
            "--example-sets",
            "paper,bins,uniform",
            "--no-baselines",
        ),
    )
    assert outcome.code == 0, outcome.err
    with Warehouse.open(path) as warehouse:
        sizes = warehouse.rows(
            "SELECT example_set, feature, count(*) FILTER (WHERE label = 1), count(*) FILTER (WHERE label = 0)"
            " FROM examples WHERE layer = 0 AND head = 0 GROUP BY ALL"
        )
        crowded = warehouse.value(
            "SELECT count(*) FROM (SELECT e.feature, least(9, floor(10 * e.activation / m.largest)) AS bin,"
            " count(*) AS n FROM examples AS e JOIN (SELECT layer, head, feature, max(activation) AS largest"
            " FROM output_activations GROUP BY ALL) AS m USING (layer, head, feature)"
            " WHERE layer = 0 AND head = 0 AND example_set = 'bins' AND label = 1 GROUP BY ALL HAVING n > 3)"
        )
    assert {name for name, *_ in sizes} == {"paper", "bins", "uniform"}
    for name, feature, positives, negatives in sizes:
        if name == "bins":
            assert 0 < negatives <= positives <= 30, feature
        else:
            assert (positives, negatives) == (9, 9), (name, feature)
    assert crowded == 0
