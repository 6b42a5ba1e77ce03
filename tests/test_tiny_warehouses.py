"""Mining tiny warehouses full of ties and edge cases, against the definitions read slowly."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from attnrules.queries.evaluation import AGGREGATIONS, EXAMPLE_SETS, NO_SCALING
from attnrules.queries.heads import FeatureId
from attnrules.queries.questions import ask
from attnrules.queries.skipgrams import SkipgramResult, SkipgramSpec, mine_skipgrams
from attnrules.queries.skipgrams.weighted import MAX_KEY_RULES
from attnrules.queries.stated import parse, read_rule
from attnrules.sql import methods
from attnrules.warehouse import Warehouse
from tests import slow, slow_stated, tiny
from tests.slow_stated import texts
from tests.tiny import HEADS, N_INPUTS, N_OUTPUTS, Tiny

SPLITS = ("train", "val", "test")
AT_THRESHOLD = ("precision_at_threshold", "recall_at_threshold", "f1_at_threshold")
INTERVALS = tuple(
    f"{name}_{end}" for name in ("f1", "f1_at_threshold", "average_precision") for end in ("low", "high")
)
# Metrics that depend on which predictions tie.
ORDERED = ("threshold", *AT_THRESHOLD, "average_precision", "spearman", *INTERVALS)
METRICS = (
    *("precision", "recall", "f1", *ORDERED, "r2", "n_examples", "n_active", "base_rate", "f1_always_active"),
    *("n_rules_used", "aggregation"),
)
# Mining takes seconds, so that shrinking would take minutes.
few = settings(deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
heads = st.sampled_from(HEADS)
seeds = st.integers(0, 2**16)


class Mined:
    """A tiny warehouse after mining one head of it."""

    def __init__(self, warehouse: Warehouse, spec: SkipgramSpec, result: SkipgramResult) -> None:
        self.warehouse, self.spec, self.result = warehouse, spec, result
        [of_head] = result.heads
        self.at = {"layer": of_head.layer, "head": of_head.head}
        self.tables = slow.Tables(warehouse, **self.at, seed=spec.seed, bos_keys=spec.bos_keys)
        self.features = [
            f for (f,) in self.rows("SELECT DISTINCT feature FROM examples WHERE {at} ORDER BY 1")
        ]

    def rows(self, query: str) -> list[Any]:
        return self.warehouse.rows(query.format(at="layer = {layer} AND head = {head}".format(**self.at)))


@contextmanager
def mined(shape: Tiny, at: tuple[int, int], **options: Any) -> Iterator[Mined]:
    """Make a tiny warehouse and mine every eligible feature of one head."""
    layer, head = at
    defaults = {"method": "all", "examples_per_split": 1, "n_features": None, "baselines": False}
    spec = SkipgramSpec(layers=(layer,), heads=(head,), **{**defaults, **options})
    with (
        TemporaryDirectory() as folder,
        tiny.build(Path(folder) / "tiny.duckdb", shape) as warehouse,
        # So that the temporary tables of mining can be looked at.
        warehouse.session(),
    ):
        yield Mined(warehouse, spec, mine_skipgrams(warehouse, spec))


# --- which features, which examples ----------------------------------------------------------------------------


@settings(few, max_examples=5)
@given(shape=tiny.shapes(6), at=heads, m=st.sampled_from([1, 2]), seed=seeds)
def test_examples_follow_their_definition(shape: Tiny, at: tuple[int, int], m: int, seed: int) -> None:
    m = min(m, shape.n_seqs // 6)
    sets = ("paper", "uniform", "bins")
    with mined(shape, at, method="unigram", examples_per_split=m, seed=seed, example_sets=sets) as found:
        check_eligibility(found)
        check_examples(found)


def n_active(tables: slow.Tables, f: int) -> int:
    return len({seq for seq, _ in tables.out[f]})


def eligible(tables: slow.Tables, m: int) -> list[int]:
    n_sequences = len(tables.split_of)
    return [f for f in range(N_OUTPUTS) if 3 * m <= n_active(tables, f) <= n_sequences - 3 * m]


def check_eligibility(found: Mined) -> None:
    m = found.spec.examples_per_split
    n_sequences = len(found.tables.split_of)
    counts = [n_active(found.tables, f) for f in range(N_OUTPUTS)]
    [summary] = found.result.heads
    assert found.features == eligible(found.tables, m)
    assert summary.n_features == summary.n_eligible == len(found.features)
    assert summary.n_rare == sum(n < 3 * m for n in counts)
    assert summary.n_silent == sum(n == 0 for n in counts)
    assert summary.n_common == sum(n >= 3 * m and n > n_sequences - 3 * m for n in counts)


def check_examples(found: Mined) -> None:
    m = found.spec.examples_per_split
    rows = defaultdict(list)
    for feature, name, *row in found.rows(
        "SELECT feature, example_set, split, label, seq_id, pos, activation FROM examples WHERE {at}"
    ):
        rows[feature, name].append(tuple(row))
    assert rows.keys() == {(f, name) for f in found.features for name in found.spec.example_sets}
    for (f, name), examples in rows.items():
        strongest = {}
        for (seq, pos), activation in sorted(found.tables.out[f].items()):
            if activation > strongest.get(seq, (0, 0))[0]:
                strongest[seq] = (activation, pos)
        positives = {seq: (y, pos) for _, label, seq, pos, y in examples if label}
        negatives = {seq: (y, pos) for _, label, seq, pos, y in examples if not label}
        assert len(positives) + len(negatives) == len(examples)
        assert positives.items() <= strongest.items()
        assert not negatives.keys() & strongest.keys()
        assert all(
            y == 0 and 1 <= pos < found.warehouse.value("SELECT seq_len FROM corpus")
            for y, pos in negatives.values()
        )
        n_inactive = len(found.tables.split_of) - len(strongest)
        assert len(negatives) == min(len(positives), n_inactive)
        if name == "paper":
            order = sorted(strongest, key=lambda seq: (-strongest[seq][0], seq))
            assert set(positives) == set(order[: 3 * m])
        elif name == "uniform":
            assert len(positives) == 3 * m
        else:
            largest = max(y for y, _ in strongest.values())
            bins, drawn = (
                Counter(min(9, math.floor(10 * y / largest)) for y, _ in of.values())
                for of in (strongest, positives)
            )
            assert drawn == {place: min(m, n) for place, n in bins.items()}
        for label in (0, 1):
            sizes = Counter(split for split, of, *_ in examples if of == label)
            n = sizes.total()
            assert [sizes[split] for split in SPLITS] == [(n + 2) // 3, (n + 1) // 3, n // 3]


# --- rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["paper", "model"])
@settings(few, max_examples=4)
@given(
    shape=tiny.shapes(6),
    at=heads,
    num_values=st.sampled_from([3, N_INPUTS]),
    num_queries=st.sampled_from([2, N_INPUTS]),
    max_rules=st.sampled_from([5, N_INPUTS**2]),
    negative_values=st.booleans(),
    bos_keys=st.booleans(),
    seed=seeds,
)
def test_rules_follow_their_definition(
    scaling: str, shape: Tiny, at: tuple[int, int], seed: int, **options: Any
) -> None:
    # Judged on nothing: what is left are the rules.
    with mined(shape, at, scaling=scaling, seed=seed, example_sets=(), **options) as found:
        for f in found.features:
            rules = defaultdict(list)
            for method, *rule in found.rows(
                "SELECT method, rank, key_feature, query_feature, attn_score, value_score, score FROM rules"
                f" WHERE {{at}} AND scaling = '{scaling}' AND feature = {f} ORDER BY method, rank, rules.rowid"
            ):
                rules[method].append(tuple(rule))
            for method in methods.names("rules"):
                if method not in ("weighted_groups", "weighted_gates"):
                    assert [rank for rank, *_ in rules[method]] == list(range(1, len(rules[method]) + 1))
                for _, i, j, s, v, _ in rules[method]:
                    assert v == found.tables.v(f, i)
                    assert s == (None if j is None else found.tables.s(i, j, scaling))
            check_weight_rules(found, f, rules)
            check_key_rules(found, f, rules)
            check_pair_rules(found, f, rules)
            check_tokens(found, f, rules)


def by_rank(rules: list[tuple[Any, ...]]) -> list[tuple[Any, float]]:
    return [(i if j is None else (i, j), score) for _, i, j, _, _, score in rules]


def check_weight_rules(found: Mined, f: int, rules: dict[str, list[tuple[Any, ...]]]) -> None:
    tables, spec = found.tables, found.spec
    keys = slow.candidate_keys(tables, f, spec.num_values, spec.negative_values)
    assert by_rank(rules["unigram"]) == [(i, tables.v(f, i)) for i in keys[: spec.max_rules]]
    scores = slow.magnitude(tables, f, keys, spec.num_queries, spec.scaling)
    order = sorted(scores, key=lambda pair: slow.magnitude_order(tables, f, pair, spec.scaling))
    ranked = by_rank(rules["magnitude"])
    assert [pair for pair, _ in ranked] == order[: spec.max_rules]
    for pair, score in ranked:
        assert score == pytest.approx(scores[pair], rel=1e-12), pair
    gradient = slow.importance(tables, f, sorted(keys), spec.num_queries, spec.scaling)
    slow.assert_ranked(by_rank(rules["importance"]), gradient, spec.max_rules, by_size=True)


def check_key_rules(found: Mined, f: int, rules: dict[str, list[tuple[Any, ...]]]) -> None:
    n = min(found.spec.max_rules, MAX_KEY_RULES)
    scores = slow.weighted(found.tables, f) if found.tables.train_active(f) else {}
    raising = {i: score for i, score in scores.items() if score > 0}
    slow.assert_ranked(by_rank(rules["weighted"]), raising, n, by_size=False)
    slow.assert_ranked(by_rank(rules["weighted_signed"]), scores, n, by_size=True)
    groups = defaultdict(list)
    for rank, i, _, _, _, score in rules["weighted_groups"]:
        assert score == pytest.approx(scores[i])
        groups[rank].append(i)
    expected = slow.weighted_groups(found.tables, f)[: found.spec.max_rules] if scores else []
    assert list(groups.values()) == [group for group, _ in expected]
    assert list(groups) == list(range(1, len(groups) + 1))
    gates, queries = defaultdict(set), defaultdict(set)
    for rank, i, j, *_ in rules["weighted_gates"]:
        gates[rank].add(i)
        queries[rank].add((i, j))
    assert gates == {rank: set(group) for rank, group in groups.items()}
    # Each of its keys with each of its queries, or each alone.
    for rank, pairs in queries.items():
        stated = {j for _, j in pairs}
        assert len(pairs) == len(gates[rank]) * len(stated)
        assert stated == {None} or None not in stated


def check_pair_rules(found: Mined, f: int, rules: dict[str, list[tuple[Any, ...]]]) -> None:
    tables, spec = found.tables, found.spec
    keys = slow.leading_keys(tables, f, spec.num_values)
    reached = slow.reached_pairs(tables, f, keys)
    learnt = {
        "weighted_pairs": slow.weighted_pairs(tables, f, reached),
        "mined": {pair: slow.mined_score(tables, f, *pair) for pair in reached},
    }
    for method, scores in learnt.items():
        ranked = by_rank(rules[method])
        assert len(ranked) <= spec.max_rules
        # With more pairs than rules, it depends on the pairs that are considered which ones are there.
        considered = reached if len(reached) <= spec.max_rules else [pair for pair, _ in ranked]
        positive = {pair: scores[pair] for pair in considered if scores[pair] > 0}
        slow.assert_ranked(ranked, positive, spec.max_rules, by_size=False)
    names = "support_positions, support_sequences, contribution, precision, recall, lift, lift_low, lift_high"
    for i, j, *support in found.rows(
        f"SELECT key_feature, query_feature, {names} FROM rules WHERE {{at}} AND method = 'mined' AND feature = {f}"
    ):
        found_support = dict(zip(names.split(", "), support, strict=True))
        assert found_support == pytest.approx(slow.mined_support(tables, f, i, j), abs=1e-12), (i, j)


def check_tokens(found: Mined, f: int, rules: dict[str, list[tuple[Any, ...]]]) -> None:
    at = {"layer": found.tables.layer, "head": found.tables.head, "feature": f}
    words = ask(found.warehouse, "rule_tokens", {**at, "n_rules": 100, "n_tokens": 100}).fetchall()
    stated = {(row[0], row[2]): row[3:] for row in words}
    rows = defaultdict(list)
    for method in methods.names("rules"):
        for rank, i, j, *_ in rules[method] if method.startswith("weighted") else ():
            rows[method, rank].append((i, j))
    assert stated.keys() == {rule for rule in rows if rule[1] <= 100}
    names = dict(found.warehouse.rows("SELECT token_id, token_label(token) FROM vocabulary"))
    for rule, (n_keys, key_tokens, n_queries, query_tokens) in stated.items():
        keys, queries = {i for i, _ in rows[rule]}, {j for _, j in rows[rule]} - {None}
        assert (n_keys, n_queries) == (len(keys), len(queries))
        added = slow.rule_tokens(found.tables, f, keys, queries)
        for text, by_token in zip((key_tokens, query_tokens), added, strict=True):
            # What adds nothing but the rounding of a sum may or may not be stated.
            raising = {names[token]: amount for token, amount in by_token.items() if amount > 1e-12}
            if not queries and by_token is added[1]:
                assert text is None
                continue
            shares = dict(part.rsplit(" ", 1) for part in (text or "").split(", ") if part)
            found_shares = {name: int(share.removesuffix("%")) for name, share in shares.items()}
            assert list(found_shares.values()) == sorted(found_shares.values(), reverse=True)
            for name in raising.keys() | found_shares.keys():
                expected = 100 * raising.get(name, 0) / max(1e-300, sum(raising.values()))
                if raising:
                    assert abs(found_shares.get(name, 0) - expected) <= 0.5 + 1e-6, (rule, name)


# --- what a feature fires on, and what it reads ------------------------------------------------------------------


@settings(few, max_examples=5)
@given(shape=tiny.shapes(6), at=heads)
# A token whose sources cancel out is none: rounding left three units of it.
@example(shape=Tiny(seed=13481, n_seqs=6, seq_len=5, steep=True, sparse=True), at=(0, 0))
def test_tokens_of_a_feature_follow_their_definition(shape: Tiny, at: tuple[int, int]) -> None:
    layer, head = at
    with TemporaryDirectory() as folder, tiny.build(Path(folder) / "tiny.duckdb", shape) as warehouse:
        tables = slow.Tables(warehouse, layer, head)
        for f in range(N_OUTPUTS):
            check_lifts(warehouse, tables, f)
            check_sources(warehouse, tables, f)


def check_lifts(warehouse: Warehouse, tables: slow.Tables, f: int) -> None:
    at = {"layer": tables.layer, "head": tables.head, "feature": f}
    rows = warehouse.rows(
        "SELECT token_id, lift FROM output_feature_tokens"
        " WHERE layer = $layer AND head = $head AND feature = $feature",
        at,
    )
    expected = slow.token_lifts(tables, f)
    assert dict(rows) == pytest.approx(expected)
    [(description,)] = warehouse.rows(
        "SELECT description FROM output_features WHERE layer = $layer AND head = $head AND feature = $feature",
        at,
    )
    if not tables.out[f]:
        assert description is None
    elif expected:
        stated = [part.split()[0] for part in description.split(", ")]
        order = sorted(expected, key=lambda token: (-round(expected[token], 9), token))
        assert stated == [f"'t{token}'" for token in order[:4]]
        assert "%" not in description
    else:
        assert "%" in description


def check_sources(warehouse: Warehouse, tables: slow.Tables, f: int) -> None:
    at = {"layer": tables.layer, "head": tables.head, "feature": f}
    rows = ask(warehouse, "output_feature_sources", at).fetchall()
    brought = {
        token: (here, everywhere)
        for token, (here, everywhere) in slow.token_sources(tables, f).items()
        # What brings nothing but the rounding of a sum may or may not be stated.
        if here > 1e-12 and here - everywhere > 1e-12
    }
    rows = [row for row in rows if row[0] in brought]
    assert {token: (here, everywhere) for token, _, here, everywhere, _ in rows} == {
        token: pytest.approx(amounts, abs=1e-12) for token, amounts in brought.items()
    }
    more = {token: here - everywhere for token, (here, everywhere) in brought.items()}
    for token, *_, share in rows:
        assert share == pytest.approx(more[token] / sum(more.values()), abs=1e-9)
    assert [row[-1] for row in rows] == sorted((row[-1] for row in rows), reverse=True)


# --- predictions, metrics, baselines and ceilings --------------------------------------------------------------


options_of_judging = {
    "at": heads,
    "scaling": st.sampled_from(["paper", "model"]),
    "example_sets": st.lists(st.sampled_from(EXAMPLE_SETS), min_size=1, max_size=2, unique=True).map(tuple),
    "num_values": st.sampled_from([2, N_INPUTS]),
    "max_rules": st.sampled_from([4, 24]),
    "negative_values": st.booleans(),
    "held_out": st.sampled_from([1, 100]),
    "bos_keys": st.booleans(),
    "seed": seeds,
}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@settings(few, max_examples=3)
@given(shape=tiny.shapes(12), m=st.sampled_from([1, 2]), **options_of_judging)
def test_predictions_and_metrics_of_rules(
    aggregation: str, shape: Tiny, at: tuple[int, int], m: int, **options: Any
) -> None:
    with mined(shape, at, aggregation=aggregation, examples_per_split=m, **options) as found:
        lists = slow.stored_lists(found.warehouse, **found.at)
        predictor = slow.Predictor(found.tables, lists, aggregation)
        names = [(method, found.spec.scaling_of(method)) for method in methods.names("rules")]
        sequences = texts(found.warehouse)

        def predict(of: tuple[int, str, str], place: tuple[int, int], n: int) -> float:
            if of[1] == "stated":
                return slow_stated.predicted(sequences[place[0]], place[1], lists[of][:n])
            return predictor.predict(of, place, n)

        check_judged(found, names, lists, predict)


@settings(few, max_examples=5)
@given(shape=tiny.shapes(12), m=st.sampled_from([1, 2]), **options_of_judging)
def test_baselines_and_ceilings(shape: Tiny, at: tuple[int, int], m: int, **options: Any) -> None:
    # The lists of the last set are looked at, and those of all positions are cut short.
    options["example_sets"] = sorted(options["example_sets"], key=lambda name: name != "all_positions")
    with mined(shape, at, method="magnitude", baselines=True, examples_per_split=m, **options) as found:
        tables, scaling = found.tables, found.spec.scaling
        lists = slow.stored_lists(found.warehouse, **found.at)
        for f in found.features:
            magnitude = lists[f, "magnitude", scaling]
            lists[f, "key_anywhere", scaling] = [
                (min(rank for rank, i, *_ in magnitude if i == key), key, None, None, tables.v(f, key), None)
                for key in {i for _, i, *_ in magnitude}
            ]
            lists[f, "random", scaling] = random_rules(found, f, magnitude)
        predictor = slow.Predictor(tables, lists, "max")

        def predict(of: tuple[int, str, str], place: tuple[int, int], n: int) -> float:
            f, method, _ = of
            if method == "always_active":
                return 1.0
            if method in ("current_token", "last_two_tokens"):
                return slow.token_mean(tables, f, place, 1 if method == "current_token" else 2)
            if method in methods.names("ceiling"):
                return slow.ceiling(tables, f, place, by_model=method == "ceiling_model_attention")
            return predictor.predict(of, place, n)

        without_rules = [
            (name, NO_SCALING)
            for name in ("always_active", "current_token", "last_two_tokens", *methods.names("ceiling"))
        ]
        names = [("magnitude", scaling), ("key_anywhere", scaling), ("random", scaling), *without_rules]
        check_judged(found, names, lists, predict)


def random_rules(found: Mined, f: int, magnitude: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rules of the baseline `random`, after a look at what they are: the magnitude rules, other features."""
    rules = found.rows(
        "SELECT rank, key_feature, query_feature, attn_score, value_score, score FROM lists"
        f" WHERE method = 'random' AND feature = {f} ORDER BY rank"
    )
    # On all positions, rules beyond the longest list that is judged are left out.
    magnitude = magnitude[: len(rules)]
    assert len(magnitude) >= 4
    assert [(rank, *scores) for rank, _, _, *scores in rules] == [
        (rank, *scores) for rank, _, _, *scores in magnitude
    ]
    layer = found.at["layer"]
    counts = dict(found.rows(f"SELECT feature, n_tokens FROM input_features WHERE layer = {layer}"))
    partner: dict[int, int] = {}
    for (_, i, j, *_), (_, other_i, other_j, *_) in zip(magnitude, rules, strict=True):
        assert partner.setdefault(i, other_i) == other_i
        assert partner.setdefault(j, other_j) == other_j
    # Eight that are next to each other in frequency: of nine features, the last may have no other.
    for i, other in partner.items():
        between = [
            n for n in counts.values() if min(counts[i], counts[other]) < n < max(counts[i], counts[other])
        ]
        assert len(between) <= 6
    assert sum(i == other for i, other in partner.items()) <= N_INPUTS % 8
    return rules


Name = tuple[int, str, str]
"""(feature, method, scaling)"""


def check_judged(
    found: Mined,
    names: list[tuple[str, str]],
    lists: dict[Name, list[tuple[Any, ...]]],
    predict: Callable[[Name, tuple[int, int], int], float],
) -> None:
    """Compare predictions and metrics of every list on every set with the definitions."""
    stored = {
        tuple(row[:-1]): row[-1]
        for row in found.rows(
            "SELECT feature, method, scaling, example_set, n_rules, split, seq_id, pos, prediction"
            " FROM rule_predictions WHERE {at}"
        )
    }
    metrics = {
        tuple(row[:6]): dict(zip(METRICS, row[6:], strict=True))
        for row in found.rows(
            "SELECT feature, method, scaling, example_set, n_rules, split,"
            f" {', '.join(METRICS)} FROM rule_metrics WHERE {{at}}"
        )
    }
    judged: set[tuple[Any, ...]] = set()
    # What the bootstrap draws from: every sequence that a feature of the head is judged on.
    sequences: dict[tuple[str, str], set[int]] = defaultdict(set)
    rows: dict[tuple[Any, ...], list[tuple[int, float, float]]] = defaultdict(list)
    for example_set in found.spec.example_sets:
        places = judged_places(found, example_set)
        for _, split, seq, _ in places:
            sequences[example_set, split].add(seq)
        for method, scaling in names:
            for n in grid(found, method, scaling, example_set, lists):
                for f, split, seq, pos in places:
                    at = (f, method, scaling, example_set, n, split)
                    prediction = predict((f, method, scaling), (seq, pos), n)
                    if example_set != "all_positions":
                        judged.add((*at, seq, pos))
                        assert stored[*at, seq, pos] == pytest.approx(prediction, rel=1e-9, abs=1e-12), (
                            at,
                            seq,
                            pos,
                        )
                        # Sums in another order may differ in their last digit, which would part what ties.
                        prediction = stored[*at, seq, pos]
                    rows[at].append((seq, found.tables.out[f].get((seq, pos), 0.0), prediction))
    assert stored.keys() == judged
    # A feature without an active position in a split of all positions has nothing to be judged on there.
    rows = {at: of for at, of in rows.items() if at[3] != "all_positions" or any(y for _, y, _ in of)}
    assert metrics.keys() == rows.keys()
    for at, of in rows.items():
        f, method, scaling, example_set, n, split = at
        drawn_from = sorted(sequences[example_set, split])
        expected = expected_metrics(found, of, rows.get((*at[:5], "train"), []), drawn_from)
        ranks = {rank for rank, *_ in lists.get((f, method, scaling), []) if rank <= n}
        expected["n_rules_used"] = len(ranks)
        way = methods.METHODS[method]
        is_sum = way.is_sum or way.match_score is None
        expected["aggregation"] = "sum" if is_sum else found.spec.aggregation
        if way.is_stated:
            expected["aggregation"] = "log_odds"
        if split != "test":
            expected |= dict.fromkeys(INTERVALS)
        # Sums of scores of mined rules are not exact, see above; at all positions they are not stored.
        if method == "mined" and found.spec.aggregation != "max" and example_set == "all_positions":
            expected = {name: value for name, value in expected.items() if name not in ORDERED}
        for name, value in expected.items():
            if value is None or isinstance(value, str):
                assert metrics[at][name] == value, (at, name)
            else:
                assert metrics[at][name] == pytest.approx(value, rel=1e-6, abs=1e-9), (at, name)


def judged_places(found: Mined, example_set: str) -> list[tuple[int, str, int, int]]:
    """(feature, split, seq, pos) of everything that is judged."""
    if example_set != "all_positions":
        return found.rows(
            f"SELECT feature, split, seq_id, pos FROM examples WHERE {{at}} AND example_set = '{example_set}'"
        )
    return [
        (f, split, seq, pos)
        for split, sequences in slow.held_out_sequences(found.tables, found.spec.held_out).items()
        for seq, pos in found.tables.positions
        if seq in sequences
        for f in found.features
    ]


def grid(
    found: Mined, method: str, scaling: str, example_set: str, lists: dict[Name, list[tuple[Any, ...]]]
) -> list[int]:
    """The lengths that are judged: 4, 8, 16, ... and the longest; on all positions, every fourfold step that
    adds a rule (of `key_anywhere`, ranks may leave a step out)."""
    if methods.METHODS[method].match_score is None:
        return [0]
    lengths = [n for n in (4, 8, 16) if n < found.spec.max_rules] + [found.spec.max_rules]
    if example_set != "all_positions":
        return lengths
    ranks = {rule[0] for f in found.features for rule in lists[f, method, scaling]}
    return [n for n in lengths if n == 4 or (n == 16 and any(4 < rank <= 16 for rank in ranks))]


def expected_metrics(
    found: Mined,
    rows: list[tuple[int, float, float]],
    train: list[tuple[int, float, float]],
    sequences: list[int],
) -> dict[str, Any]:
    pairs, of_train = ([(y, prediction) for _, y, prediction in of] for of in (rows, train))
    threshold = slow.best_threshold(of_train)
    n_active = sum(y > 0 for y, _ in pairs)
    plain = slow.rates(pairs, 0.0)
    fitted = (None, None, None) if threshold is None else slow.rates(pairs, threshold)
    ends = slow.intervals(rows, sequences, threshold, found.spec.seed)
    return {
        **dict(zip(("precision", "recall", "f1"), plain, strict=True)),
        **dict(zip(AT_THRESHOLD, fitted, strict=True)),
        "threshold": threshold,
        "average_precision": slow.average_precision(pairs),
        "spearman": slow.spearman(pairs),
        "r2": slow.r2(pairs, slow.fitted_line(of_train)) if of_train else None,
        "n_examples": len(pairs),
        "n_active": n_active,
        "base_rate": n_active / len(pairs),
        "f1_always_active": 2 * n_active / (n_active + len(pairs)),
        **dict(zip(INTERVALS, ends, strict=True)),
    }


# --- lists that were mined with other draws --------------------------------------------------------------------


@pytest.mark.parametrize(
    "otherwise",
    [
        {"seed": 1},
        {"examples_per_split": 2},
        {"bos_keys": True},
        {"example_sets": ("paper", "uniform", "all_positions")},
    ],
    ids=["seed", "examples", "BOS", "sets"],
)
def test_a_list_is_not_judged_on_what_it_may_have_learnt_from(
    otherwise: dict[str, Any], tmp_path: Path
) -> None:
    shape = Tiny(seed=7, n_seqs=20, seq_len=5, steep=False, sparse=False)
    where = {"layers": (0,), "heads": (0,), "n_features": None, "min_count": 3, "max_count": 17}
    options = {**where, "examples_per_split": 1, "baselines": False}
    figures = "SELECT method, n_rules, average_precision, f1 FROM rule_metrics ORDER BY ALL"
    read = "SELECT DISTINCT method FROM rule_readings ORDER BY method"
    with tiny.build(tmp_path / "w.duckdb", shape) as warehouse:
        first = mine_skipgrams(warehouse, SkipgramSpec(method="weighted", **options))
        mine_skipgrams(warehouse, SkipgramSpec(method="mined", **options))
        before, rules = warehouse.rows(figures), warehouse.rows("FROM rules ORDER BY ALL")
        assert {row[0] for row in before} == {"mined", "weighted"}
        other = mine_skipgrams(warehouse, SkipgramSpec(method="mined", **{**options, **otherwise}))
        assert {row[0] for row in warehouse.rows(figures)} == {"mined"}
        assert warehouse.rows(read) == [("mined",)]
        assert warehouse.rows("FROM rules WHERE method = 'weighted' ORDER BY ALL") == [
            row for row in rules if row[3] == "weighted"
        ]
        # Mined as before, the list that stayed is judged as before.
        again = mine_skipgrams(warehouse, SkipgramSpec(method="mined", **options))
        assert warehouse.rows(figures) == before
    assert (first.not_judged, again.not_judged) == ([], [])
    [line] = other.not_judged
    assert line.startswith("L0H0: rules by weighted of ")


@pytest.mark.parametrize("method", ["magnitude", "unigram"])
@pytest.mark.parametrize("otherwise", [{"seed": 1}, {"bos_keys": True}], ids=["seed", "BOS"])
def test_a_list_of_weights_alone_has_learnt_from_nothing(
    method: str, otherwise: dict[str, Any], tmp_path: Path
) -> None:
    shape = Tiny(seed=7, n_seqs=20, seq_len=5, steep=False, sparse=False)
    where = {"layers": (0,), "heads": (0,), "n_features": None, "min_count": 3, "max_count": 17}
    options = {**where, "examples_per_split": 1, "baselines": False}
    figures = "SELECT * FROM rule_metrics WHERE method = $m ORDER BY ALL"
    with tiny.build(tmp_path / "w.duckdb", shape) as warehouse:
        mine_skipgrams(warehouse, SkipgramSpec(method=method, **options))
        other = mine_skipgrams(warehouse, SkipgramSpec(method="mined", **{**options, **otherwise}))
        kept, read = (
            warehouse.rows(sql, {"m": method})
            for sql in (figures, "SELECT 1 FROM rule_readings WHERE method = $m")
        )
        mine_skipgrams(warehouse, SkipgramSpec(method=method, **{**options, **otherwise}))
        # Keys at BOS count otherwise, whatever a list has learnt from.
        expected = [] if "bos_keys" in otherwise else warehouse.rows(figures, {"m": method})
    assert kept == expected
    assert bool(read) == bool(kept) == (other.not_judged == [])


def test_what_is_named_twice_is_mined_and_judged_once(tmp_path: Path) -> None:
    shape = Tiny(seed=7, n_seqs=20, seq_len=5, steep=False, sparse=False)
    options: dict[str, Any] = {"method": "weighted", "min_count": 3, "max_count": 17, "examples_per_split": 1}
    figures = "FROM rule_metrics ORDER BY ALL"
    with tiny.build(tmp_path / "w.duckdb", shape) as warehouse:
        everything = mine_skipgrams(
            warehouse, SkipgramSpec(layers=(0,), heads=(0,), n_features=None, **options)
        )
        feature = FeatureId(0, 0, warehouse.value("SELECT min(feature) FROM rules"))
        once = mine_skipgrams(warehouse, SkipgramSpec(features=(feature,), **options))
        expected = (
            warehouse.rows(figures),
            warehouse.rows("SELECT * EXCLUDE (run_id) FROM rules ORDER BY ALL"),
        )
        sets = ("paper", "all_positions", "paper", "all_positions")
        twice = mine_skipgrams(warehouse, SkipgramSpec(features=(feature,) * 2, example_sets=sets, **options))
        found = warehouse.rows(figures), warehouse.rows("SELECT * EXCLUDE (run_id) FROM rules ORDER BY ALL")
    assert everything.heads[0].n_features > 1
    assert twice == once
    assert found == expected


def test_a_list_is_not_judged_on_examples_of_sequences_added_since(tmp_path: Path) -> None:
    shape = Tiny(seed=7, n_seqs=20, seq_len=5, steep=False, sparse=False)
    where = {"layers": (0,), "heads": (0,), "n_features": None, "min_count": 3, "max_count": 17}
    options = {**where, "examples_per_split": 1, "baselines": False}
    ingested = (
        "INSERT INTO runs (run_id, command, arguments, versions, started_at, status) SELECT"
        " coalesce(max(run_id), 0) + 1, 'ingest', {'n_sequences': $n}::JSON, '{}', now(), 'done' FROM runs"
    )
    with tiny.build(tmp_path / "w.duckdb", shape) as warehouse:
        warehouse.execute(ingested, {"n": 10})
        mine_skipgrams(warehouse, SkipgramSpec(method="weighted", **options))
        same = mine_skipgrams(warehouse, SkipgramSpec(method="mined", **options))
        warehouse.execute(ingested, {"n": 20})
        more = mine_skipgrams(warehouse, SkipgramSpec(method="mined", **options))
        assert warehouse.rows("SELECT DISTINCT method FROM rule_metrics") == [("mined",)]
    assert (len(same.not_judged), len(more.not_judged)) == (0, 1)


def test_a_rule_is_tested_on_what_its_mining_held_out(tmp_path: Path) -> None:
    shape = Tiny(seed=7, n_seqs=20, seq_len=5, steep=False, sparse=False)
    options = {"layers": (0,), "heads": (0,), "n_features": None, "min_count": 3, "max_count": 17}
    statement, of_seed = parse("position 1..")[0], {}
    with tiny.build(tmp_path / "w.duckdb", shape) as warehouse:
        for seed in (0, 5):
            spec = SkipgramSpec(method="unigram", examples_per_split=1, baselines=False, seed=seed, **options)
            mine_skipgrams(warehouse, spec)
            [(feature,)] = warehouse.rows("SELECT min(feature) FROM rules")
            found = read_rule(warehouse, FeatureId(0, 0, feature), statement)
            assert found == read_rule(warehouse, FeatureId(0, 0, feature), statement, seed=seed)
            of_seed[seed] = found
    assert of_seed[0] != of_seed[5]
