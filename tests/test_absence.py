"""Absence rules: the distractor search and its examples, against slow readings of the definitions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnrules.queries.absence import AbsenceSpec, find_distractors, matched_difference, mine_absence, strata
from attnrules.queries.evaluation import SequenceBootstrap
from attnrules.queries.heads import FeatureId, HeadScores
from attnrules.warehouse import Warehouse
from tests.planted import PlantedModel


def mine(path: Path, **options: Any) -> None:
    with Warehouse.open(path, writable=True) as warehouse:
        mine_absence(warehouse, AbsenceSpec(**options))


# --- the search by weights -------------------------------------------------------------------------


def slow_distractors(
    scores: HeadScores, features: list[int], pairs: int, candidates: list[int]
) -> Iterator[tuple[Any, ...]]:
    """Read method.md section 6.1 word by word; numbers are small integers, so that ties abound."""
    for f in features:
        V = {i: float(scores.values[i] @ scores.encoders[f]) for i in candidates}
        S = {(i, j): float(scores.keys[i] @ scores.queries[j]) for i in candidates for j in candidates}
        first = min(candidates, key=lambda i: (-V[i], i))
        chosen = [(first, min(candidates, key=lambda j: (-S[first, j], j)))]
        others = sorted(
            (p for p in S if V[p[0]] > 0 and p != chosen[0]),
            key=lambda p: (-round(S[p] + math.log(V[p[0]]), 9), *p),
        )
        for pair, (i, j) in enumerate([*chosen, *others[: pairs - 1]], start=1):
            order = sorted(candidates, key=lambda k: (-S[k, j], k))
            negative = [k for k in order if V[k] < 0] if V[i] > 0 else []
            distractor = negative[0] if negative else -1
            rank = order.index(distractor) if negative else None
            yield f, pair, i, j, V[i], S[i, j], order.index(i), distractor, rank


@settings(deadline=None)
@given(
    rng=st.integers(0, 2**32 - 1).map(np.random.default_rng),
    pairs=st.sampled_from([1, 2, 5]),
    n_candidates=st.integers(1, 7),
)
def test_distractors_are_those_of_the_definition(
    rng: np.random.Generator, pairs: int, n_candidates: int
) -> None:
    draw = lambda n: rng.integers(-2, 3, size=(n, 2)).astype(float)  # noqa: E731
    scores = HeadScores(draw(7), draw(7), draw(7), draw(3))
    candidates = np.sort(rng.permutation(7)[:n_candidates])
    found = find_distractors(scores, np.array([0, 2]), pairs=pairs, candidates=candidates)
    expected = list(slow_distractors(scores, [0, 2], pairs, candidates.tolist()))
    columns = (found.feature, found.pair, found.key, found.query, found.value, found.attn, found.key_rank)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == [row[:7] for row in expected]
    assert found.distractor.tolist() == [row[7] for row in expected]
    for row, (rank, v, s, outranks) in zip(
        expected,
        zip(
            found.distractor_rank, found.distractor_value, found.distractor_attn, found.outranks, strict=True
        ),
        strict=True,
    ):
        if row[7] < 0:
            assert not outranks
        else:
            assert rank == row[8]
            assert outranks == (row[6] > rank)
            assert v < 0
            assert s == scores.keys[row[7]] @ scores.queries[row[3]]


def test_many_features_are_searched_in_blocks() -> None:
    rng = np.random.default_rng(0)
    scores = HeadScores(*(rng.normal(size=(600, 4)) for _ in range(4)))
    at_once = find_distractors(scores, np.arange(600), pairs=3)
    alone = find_distractors(scores, np.array([599]), pairs=3)
    assert at_once.feature.tolist() == np.repeat(np.arange(600), 3).tolist()
    assert at_once.distractor[-3:].tolist() == alone.distractor.tolist()
    assert at_once.key[-3:].tolist() == alone.key.tolist()


# --- the planted truth -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def absent_once(ingested_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted warehouse with absence rules mined. Not to be written to."""
    import shutil

    path = Path(shutil.copy(ingested_once, tmp_path_factory.mktemp("absence") / "planted.duckdb"))
    mine(path, max_examples=40)
    return path


@pytest.mark.parametrize("scaling", ["paper", "model"])
def test_planted_absence_rules_are_found_and_nothing_else(
    ingested: Path, planted: PlantedModel, scaling: str
) -> None:
    mine(ingested, scaling=scaling)
    with Warehouse.open(ingested) as warehouse:
        found = warehouse.rows(
            "SELECT layer, head, feature, key_feature, distractor_feature, query_feature FROM distractors"
            " WHERE has_distractor_key"
        )
    expected = {
        (*at, rule.key_feature, rule.distractor_feature, rule.query_feature)
        for at, rule in planted.absence_rules.items()
    }
    # Where key and opponent draw the same attention, the smaller id comes first: that is no absence rule, and
    # interventions tell.
    counting = set(planted.counting_rules)
    assert {row for row in found if row[:3] not in counting} == expected


def test_every_feature_has_a_row_and_those_without_a_distractor_say_so(
    absent_once: Path, planted: PlantedModel
) -> None:
    with Warehouse.open(absent_once) as warehouse:
        rows = warehouse.rows(
            "SELECT layer, head, feature, distractor_feature, has_distractor_key, kq_count FROM distractors"
        )
        features = warehouse.rows("SELECT layer, head, feature FROM output_features")
    assert sorted(row[:3] for row in rows) == sorted(features)
    without = {row[:3] for row in rows if row[3] is None}
    assert (0, 1, planted.output_features[0, 1, "lamp glows"]) in without
    assert all(row[4:] == (False, None) for row in rows if row[3] is None)


def test_a_distractor_that_draws_less_attention_than_the_key_is_none(
    absent_once: Path, planted: PlantedModel
) -> None:
    feature = planted.output_features[0, 1, "bell rings"]
    with Warehouse.open(absent_once) as warehouse:
        row = warehouse.rows(
            "SELECT distractor_feature, key_rank < distractor_rank, has_distractor_key FROM distractors"
            " WHERE layer = 0 AND head = 1 AND feature = $feature",
            {"feature": feature},
        )
    assert row == [(planted.input_features[0, "whisper"], True, False)]


# --- examples --------------------------------------------------------------------------------------


def slow_examples(warehouse: Warehouse) -> dict[tuple[Any, ...], list[tuple[Any, ...]]]:
    """Read method.md section 6.2 sequence by sequence: (layer, head, feature, pair, kind) -> examples."""
    active: dict[tuple[int, int, int], dict[int, float]] = defaultdict(dict)
    for layer, seq, pos, feature, activation in warehouse.rows(
        "SELECT layer, seq_id, pos, feature, activation FROM input_activations WHERE pos > 0"
    ):
        active[layer, seq, feature][pos] = activation
    outputs = {
        row[:5]: row[5]
        for row in warehouse.rows(
            "SELECT layer, head, feature, seq_id, pos, activation FROM output_activations"
        )
    }
    n_sequences = warehouse.value("SELECT sum(n_seqs) FROM chunks")
    found = defaultdict(list)
    for layer, head, feature, pair, i, j, i2 in warehouse.rows(
        "SELECT layer, head, feature, pair, key_feature, query_feature, distractor_feature FROM distractors"
        " WHERE distractor_feature IS NOT NULL"
    ):
        for seq in range(n_sequences):
            keys, queries, others = (active.get((layer, seq, f), {}) for f in (i, j, i2))
            if not keys:
                continue
            p1 = min(keys)
            after = [q for q in queries if q >= p1]
            if not after:
                continue
            q = min(after)
            between = [p for p in others if p <= q and p != p1]
            p2 = min(between) if between else None
            kind = "no_distractor" if p2 is None else "has_distractor"
            found[layer, head, feature, pair, kind].append(
                (seq, p1, q, p2, keys[p1], queries[q], None if p2 is None else others[p2])
                + (outputs.get((layer, head, feature, seq, q), 0.0),)
            )
    return found


@pytest.mark.parametrize("pairs", [1, 3])
def test_examples_and_counts_are_those_of_the_definition(ingested: Path, pairs: int) -> None:
    mine(ingested, max_examples=10_000, pairs=pairs, layers=(0,))
    with Warehouse.open(ingested) as warehouse:
        expected = slow_examples(warehouse)
        found = defaultdict(list)
        for row in warehouse.rows(
            "SELECT layer, head, feature, pair, kind, seq_id, key_pos, query_pos, distractor_pos,"
            " key_activation, query_activation, distractor_activation, activation FROM distractor_examples"
        ):
            found[row[:5]].append(row[5:])
        counts = {
            row[:4]: row[4:]
            for row in warehouse.rows(
                "SELECT layer, head, feature, pair, kq_count, kkq_count, kq_mean_activation,"
                " kkq_active_share FROM distractors WHERE distractor_feature IS NOT NULL"
            )
        }
    assert {at: sorted(rows) for at, rows in found.items()} == {
        at: sorted(rows) for at, rows in expected.items()
    }
    assert len(found) >= 8
    for at, (kq, kkq, kq_mean, kkq_share) in counts.items():
        without, having = (expected.get((*at, kind), []) for kind in ("no_distractor", "has_distractor"))
        assert (kq, kkq) == (len(without), len(having))
        assert kq_mean == (pytest.approx(np.mean([e[-1] for e in without])) if without else None)
        assert kkq_share == (pytest.approx(np.mean([e[-1] > 0 for e in having])) if having else None)


def examples_of(path: Path) -> list[Any]:
    with Warehouse.open(path) as warehouse:
        return sorted(
            warehouse.rows("SELECT layer, head, feature, pair, kind, seq_id FROM distractor_examples")
        )


def test_no_more_examples_are_kept_than_asked_for_but_all_are_counted(ingested: Path) -> None:
    mine(ingested, max_examples=10_000, layers=(0,))
    everything = examples_of(ingested)
    mine(ingested, max_examples=7, layers=(0,))
    some = examples_of(ingested)
    assert set(some) < set(everything)
    kinds = defaultdict(int)
    for row in everything:
        kinds[row[:5]] += 1
    for at, n in kinds.items():
        assert sum(row[:5] == at for row in some) == min(n, 7)
    with Warehouse.open(ingested) as warehouse:
        for *at, kq, kkq in warehouse.rows(
            "SELECT layer, head, feature, pair, kq_count, kkq_count FROM distractors"
            " WHERE distractor_feature IS NOT NULL"
        ):
            assert kinds[(*at, "no_distractor")] == kq
            assert kinds[(*at, "has_distractor")] == kkq


def test_a_draw_does_not_depend_on_what_else_is_mined(absent_once: Path, ingested: Path) -> None:
    everything = examples_of(absent_once)
    layer, head, feature = everything[0][:3]
    mine(ingested, max_examples=40, features=(FeatureId(layer, head, feature),))
    assert examples_of(ingested) == [row for row in everything if row[:3] == (layer, head, feature)]


def test_mining_again_replaces(ingested: Path) -> None:
    def everything() -> list[Any]:
        with Warehouse.open(ingested) as warehouse:
            return sorted(warehouse.rows("SELECT * EXCLUDE (run_id) FROM distractors"), key=repr)

    mine(ingested, layers=(0,))
    before = everything()
    mine(ingested, layers=(0,))
    assert everything() == before


# --- the matched difference ------------------------------------------------------------------------


def slow_difference(has: Any, activation: Any, stratum: Any) -> float | None:
    total, weight = 0.0, 0
    for s in set(stratum.tolist()):
        with_, without = (activation[(stratum == s) & (has == kind)] for kind in (True, False))
        if len(with_) and len(without):
            total += len(with_) * (with_.mean() - without.mean())
            weight += len(with_)
    return total / weight if weight else None


@settings(deadline=None)
@given(rng=st.integers(0, 2**32 - 1).map(np.random.default_rng), n=st.integers(0, 60))
def test_matched_difference_compares_within_strata(rng: np.random.Generator, n: int) -> None:
    has = rng.random(n) < 0.5
    activation, stratum = rng.normal(size=n), rng.integers(0, 16, n)
    *counts, difference, low, high = matched_difference(
        has, activation, stratum, np.arange(n), SequenceBootstrap(0, replicates=50)
    )
    expected = slow_difference(has, activation, stratum)
    assert difference == (None if expected is None else pytest.approx(expected))
    usable = [s for s in range(16) if len({bool(h) for h in has[stratum == s]}) == 2]
    inside = np.isin(stratum, usable)
    assert counts == [(inside & ~has).sum(), (inside & has).sum()]
    assert (low is None) == (high is None)
    if low is not None:
        assert low <= high


def test_matching_removes_what_key_strength_and_distance_explain() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    key, distance = rng.exponential(1, n), rng.integers(0, 40, n)
    # The distractor comes with weak keys far away, and does nothing.
    has = rng.random(n) < 1 / (1 + np.exp(2 * key - distance / 10))
    activation = key - 0.02 * distance + rng.normal(0, 0.3, n)
    _, _, difference, low, high = matched_difference(
        has, activation, strata(key, distance), np.arange(n), SequenceBootstrap(0)
    )
    raw = activation[has].mean() - activation[~has].mean()
    assert raw < -0.6
    assert abs(difference) < 0.25 * abs(raw)
    assert low < difference < high
