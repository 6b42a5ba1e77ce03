"""Mining output SAEs over a whole layer, against SAEs of single heads and against the definitions read slowly."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from attnrules.commands.card import card_lines
from attnrules.errors import UsageError
from attnrules.pages.site import environment, feature_page
from attnrules.queries.absence import AbsenceSpec, mine_absence
from attnrules.queries.card import feature_card
from attnrules.queries.counting import CountingSpec, mine_counting
from attnrules.queries.evaluation import EXAMPLE_SETS
from attnrules.queries.heads import FeatureId
from attnrules.queries.heads.rotation import attended_distances
from attnrules.queries.pages import head_pages
from attnrules.queries.questions import ask
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.sql import WHOLE_LAYER, Statements
from attnrules.sql.methods import names
from attnrules.warehouse import Warehouse, check
from tests import slow, tiny
from tests.tiny import N_INPUTS, Tiny

SHAPE = Tiny(seed=5, n_seqs=18, seq_len=5, steep=False, sparse=False)
EVERYTHING: dict[str, Any] = {
    "method": "all",
    "examples_per_split": 1,
    "n_features": None,
    "example_sets": EXAMPLE_SETS,
    "max_rules": 24,
}
FOUND = (
    *("examples", "rules", "rule_evaluations", "rule_scores", "rule_metric_values"),
    *("distractors", "distractor_examples", "counting_counts", "counting_rules"),
)
BY_WEIGHT = ("weighted", "weighted_signed", "weighted_groups", "weighted_gates", "weighted_pairs")

# --- one head, read by an SAE of its own and by one over its layer ----------------------------------------------


def mine_everything(warehouse: Warehouse, at: tuple[int, int]) -> None:
    layer, head = at
    only: dict[str, Any] = {"layers": (layer,), "heads": None if head == WHOLE_LAYER else (head,)}
    mine_skipgrams(warehouse, SkipgramSpec(**only, **EVERYTHING))
    mine_absence(warehouse, AbsenceSpec(**only, pairs=3))
    mine_counting(warehouse, CountingSpec(**only, pairs=3, min_support=1))


def of_one_head(path: Path) -> Warehouse:
    """A tiny warehouse whose head L0H1 is named L0H255: draws depend on 256 x layer + head alone."""
    warehouse = tiny.build(path, SHAPE)
    with warehouse.transaction():
        for table in ("attention_sources", "heads", "projections", "output_features", "output_activations"):
            warehouse.execute(f"UPDATE {table} SET head = 255 WHERE layer = 0 AND head = 1")
        warehouse.execute(
            "UPDATE feature_heads SET head = 255, through_head = 255 WHERE layer = 0 AND head = 1"
        )
    return warehouse


def of_whole_layer(path: Path, *, with_silent_head: bool) -> Warehouse:
    """The same warehouse with that SAE over layer 1, whose head 255 it reads, and to no effect head 254."""
    warehouse = of_one_head(path)
    with warehouse.transaction():
        for table in (
            *("input_features", "input_activations", "token_scales", "attention_sources", "heads"),
            *("projections", "output_features", "output_activations", "feature_heads"),
        ):
            warehouse.execute(f"DELETE FROM {table} WHERE layer = 1")
            warehouse.execute(f"UPDATE {table} SET layer = 1")
        for table in ("output_features", "output_activations", "feature_heads"):
            warehouse.execute(f"DELETE FROM {table} WHERE head = 0")
            warehouse.execute(f"UPDATE {table} SET head = -1")
        warehouse.execute("UPDATE output_features SET encoder = NULL")
        for table in ("attention_sources", "heads", "projections"):
            warehouse.execute(f"UPDATE {table} SET head = 254 WHERE head = 0")
        if with_silent_head:
            warehouse.execute(
                "INSERT INTO feature_heads BY NAME SELECT * REPLACE (254 AS through_head, [0, 0] AS encoder)"
                " FROM feature_heads"
            )
    return warehouse


def found_in(warehouse: Warehouse, at: tuple[int, int], table: str, where: str = "true") -> list[Any]:
    return warehouse.rows(
        "SELECT COLUMNS(lambda name: name NOT IN ('layer', 'head', 'through_head', 'run_id'))"
        f" FROM {table} WHERE layer = $layer AND head = $head AND {where} ORDER BY ALL",
        {"layer": at[0], "head": at[1]},
    )


@pytest.fixture(scope="module")
def per_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with of_one_head(tmp_path_factory.mktemp("head") / "w.duckdb") as warehouse:
        mine_everything(warehouse, (0, 255))
        yield warehouse


def test_a_layer_of_one_head_is_that_head(per_head: Warehouse, tmp_path: Path) -> None:
    with of_whole_layer(tmp_path / "w.duckdb", with_silent_head=False) as whole:
        mine_everything(whole, (1, WHOLE_LAYER))
        for table in FOUND:
            expected = found_in(per_head, (0, 255), table)
            assert found_in(whole, (1, WHOLE_LAYER), table) == expected, table
            assert expected or table == "counting_rules", table
        for table in ("rules", "distractors"):
            assert whole.rows(f"SELECT DISTINCT through_head FROM {table}") == [(255,)]


def test_a_head_that_is_read_to_no_effect_changes_nothing(per_head: Warehouse, tmp_path: Path) -> None:
    methods = f"method IN {(*BY_WEIGHT, *names('ceiling'))}"
    with of_whole_layer(tmp_path / "w.duckdb", with_silent_head=True) as whole:
        mine_skipgrams(whole, SkipgramSpec(layers=(1,), **EVERYTHING))
        assert whole.rows("SELECT DISTINCT through_head FROM rules WHERE value_score <> 0") == [(255,)]
        for table in ("rules", "rule_scores", "rule_metric_values"):
            expected = found_in(per_head, (0, 255), table, methods)
            assert found_in(whole, (1, WHOLE_LAYER), table, methods) == expected, table
            assert expected, table


# --- several heads ------------------------------------------------------------------------------------------------


@contextmanager
def both_kinds(path: Path, shape: Tiny = SHAPE) -> Iterator[Warehouse]:
    """A tiny warehouse with output SAEs of L0H0 and L0H1 and of the whole layer 0."""
    with tiny.build(path, shape) as warehouse:
        tiny.add_layer_sae(warehouse, shape, 0)
        yield warehouse


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with both_kinds(tmp_path_factory.mktemp("both") / "w.duckdb") as warehouse:
        mine_skipgrams(warehouse, SkipgramSpec(layers=(0,), **{**EVERYTHING, "max_rules": 400}))
        yield warehouse


@pytest.fixture(scope="module")
def tables(mined: Warehouse) -> dict[int, slow.Tables]:
    return {head: slow.Tables(mined, 0, WHOLE_LAYER, through=head) for head in (0, 1)}


def rules_of(mined: Warehouse, method: str) -> dict[int, list[tuple[Any, float]]]:
    """By feature: ((head, key) or (head, key, query), score) in order of rank."""
    found: dict[int, list[tuple[Any, float]]] = {}
    for feature, head, i, j, score in mined.rows(
        "SELECT feature, through_head, key_feature, query_feature, score FROM rules"
        " WHERE layer = 0 AND head = -1 AND method = $method ORDER BY feature, rank, rules.rowid",
        {"method": method},
    ):
        found.setdefault(feature, []).append(((head, i) if j is None else (head, i, j), score))
    return found


def features_of(mined: Warehouse, tables: dict[int, slow.Tables]) -> list[int]:
    """The features mined that are active at a train position, without which `weighted` has no rules."""
    rows = mined.rows("SELECT DISTINCT feature FROM examples WHERE layer = 0 AND head = -1 ORDER BY 1")
    found = [f for (f,) in rows if tables[0].train_active(f)]
    assert len(found) > 1
    return found


def test_the_scores_of_rules_are_those_of_their_head(
    mined: Warehouse, tables: dict[int, slow.Tables]
) -> None:
    rows = mined.rows(
        "SELECT feature, through_head, key_feature, query_feature, value_score, attn_score FROM rules"
        " WHERE layer = 0 AND head = -1"
    )
    assert {head for _, head, *_ in rows} == {0, 1}
    for f, head, i, j, v, s in rows:
        assert v == tables[head].v(f, i)
        assert s == (None if j is None else tables[head].s(i, j, "paper"))


def test_keys_of_all_heads_are_ranked_together(mined: Warehouse, tables: dict[int, slow.Tables]) -> None:
    unigrams, found, signed = (rules_of(mined, name) for name in ("unigram", "weighted", "weighted_signed"))
    for f in features_of(mined, tables):
        values = {(h, i): own.v(f, i) for h, own in tables.items() for i in own.keys}
        slow.assert_ranked(unigrams[f], values, 100, by_size=False)
        scores = {(h, i): score for h, own in tables.items() for i, score in slow.weighted(own, f).items()}
        raising = {key: score for key, score in scores.items() if score > 0}
        slow.assert_ranked(found.get(f, []), raising, 100, by_size=False)
        slow.assert_ranked(signed.get(f, []), scores, 100, by_size=True)


def test_groups_are_keys_of_one_head(mined: Warehouse, tables: dict[int, slow.Tables]) -> None:
    for f in features_of(mined, tables):
        groups = [
            ([(h, i) for i in group], score)
            for h, own in tables.items()
            for group, score in slow.weighted_groups(own, f)
        ]
        expected = [group for group, _ in sorted(groups, key=lambda group: -group[1])]
        rows = mined.rows(
            "SELECT rank, list((through_head, key_feature) ORDER BY rules.rowid) FROM rules"
            " WHERE layer = 0 AND head = -1 AND method = 'weighted_groups' AND feature = $f"
            " GROUP BY rank ORDER BY rank",
            {"f": f},
        )
        assert [group for _, group in rows] == expected


def test_pairs_of_all_heads_are_ranked_together(mined: Warehouse, tables: dict[int, slow.Tables]) -> None:
    found = {name: rules_of(mined, name) for name in ("magnitude", "importance", "weighted_pairs", "mined")}
    for f in features_of(mined, tables):
        magnitudes, gradients, pairs, precisions = ({} for _ in range(4))
        for h, own in tables.items():
            keys = sorted(own.keys)
            reached = slow.reached_pairs(own, f, keys)
            for scores, of_head in (
                (magnitudes, slow.magnitude(own, f, keys, 100, "paper")),
                (gradients, slow.importance(own, f, keys, 100, "paper")),
                (pairs, slow.weighted_pairs(own, f, reached)),
                (precisions, {pair: slow.mined_score(own, f, *pair) for pair in reached}),
            ):
                scores.update({(h, *pair): score for pair, score in of_head.items()})
        assert len(magnitudes) == 2 * N_INPUTS**2
        slow.assert_ranked(found["magnitude"][f], magnitudes, 400, by_size=False)
        slow.assert_ranked(found["importance"].get(f, []), gradients, 400, by_size=True)
        for name, scores in (("weighted_pairs", pairs), ("mined", precisions)):
            positive = {pair: score for pair, score in scores.items() if score > 0}
            slow.assert_ranked(found[name].get(f, []), positive, 400, by_size=False)


def test_support_is_counted_through_the_head_of_a_rule(
    mined: Warehouse, tables: dict[int, slow.Tables]
) -> None:
    columns = (
        "support_positions, support_sequences, contribution, precision, recall, lift, lift_low, lift_high"
    )
    rows = mined.rows(
        f"SELECT feature, through_head, key_feature, query_feature, {columns} FROM rules"
        " WHERE layer = 0 AND head = -1 AND method = 'mined' AND rank <= 20"
    )
    assert rows
    for f, head, i, j, *support in rows:
        expected = slow.mined_support(tables[head], f, i, j)
        assert dict(zip(columns.split(", "), support, strict=True)) == pytest.approx(expected, abs=1e-12)


def test_predictions_are_sums_over_heads(mined: Warehouse, tables: dict[int, slow.Tables]) -> None:
    lists = {name: rules_of(mined, name) for name in ("weighted", "weighted_signed", "weighted_pairs")}
    rows = mined.rows(
        "SELECT feature, method, n_rules, seq_id, pos, prediction FROM rule_predictions"
        " WHERE layer = 0 AND head = -1 AND example_set = 'uniform'"
        " AND (method IN ('weighted', 'weighted_signed', 'weighted_pairs') OR method LIKE 'ceiling%')"
    )
    assert len({row[1] for row in rows}) == 5
    for f, method, n, seq, q, prediction in rows:
        if method.startswith("ceiling"):
            by_model = method == "ceiling_model_attention"
            expected = tables[0].bias[f] + sum(
                slow.ceiling(own, f, (seq, q), by_model=by_model) - own.bias[f] for own in tables.values()
            )
        else:
            of_key: dict[tuple[int, int], set[int]] = {}
            for (head, i, *j), _ in lists[method].get(f, [])[:n]:
                of_key.setdefault((head, i), set()).update(j)
            active = tables[0].active[seq, q]
            expected = 0.0
            for (head, i, *j), _ in lists[method].get(f, [])[:n]:
                if not j or j[0] in active:
                    amount = tables[head].received(seq, q).get(i, 0.0)
                    expected += tables[head].v(f, i) * amount
        assert prediction == pytest.approx(expected, abs=1e-9), (f, method, n, seq, q)


def test_heads_restrict_those_whose_rules_are_sought(tmp_path: Path) -> None:
    with both_kinds(tmp_path / "w.duckdb") as warehouse:
        spec = SkipgramSpec(layers=(0,), heads=(1,), **{**EVERYTHING, "example_sets": ("paper",)})
        result = mine_skipgrams(warehouse, spec)
        assert [(head.layer, head.head) for head in result.heads] == [(0, WHOLE_LAYER), (0, 1)]
        rows = warehouse.rows("SELECT DISTINCT head, through_head FROM rules ORDER BY ALL")
        assert rows == [(WHOLE_LAYER, 1), (1, 1)]


def test_heads_that_no_sae_reads_are_refused(tmp_path: Path) -> None:
    with both_kinds(tmp_path / "w.duckdb") as warehouse:
        with pytest.raises(UsageError, match="--heads 7: not in this warehouse, which holds L0, L0H0, L0H1"):
            mine_skipgrams(warehouse, SkipgramSpec(heads=(7,)))
        chosen = SkipgramSpec(heads=(7,), features=(FeatureId(0, WHOLE_LAYER, 2),))
        with pytest.raises(UsageError, match="--heads 7: the SAE of L0 reads heads 0, 1"):
            mine_skipgrams(warehouse, chosen)


def test_each_head_is_turned_by_its_own_rotation(tmp_path: Path) -> None:
    with both_kinds(tmp_path / "w.duckdb") as warehouse:
        warehouse.execute(
            "INSERT INTO rotations"
            " VALUES (0, 0, [0.5], 'halves', 1), (0, 1, [1.25], 'halves', 1), (1, 0, [2], 'halves', 1)"
        )
        distances = {head: attended_distances(warehouse, 0, head, bos_keys=False) for head in (0, 1)}
        options = {**EVERYTHING, "example_sets": ("paper",), "baselines": False, "max_rules": 40}
        for method in ("magnitude", "importance"):
            mine_skipgrams(warehouse, SkipgramSpec(layers=(0,), **{**options, "method": method}))
        mine_absence(warehouse, AbsenceSpec(layers=(0,), pairs=4))
        for table in ("rules", "distractors"):
            heads = set()
            for head in (0, 1):
                rows = warehouse.rows(
                    "SELECT r.attn_score, max(s) FROM (SELECT t.rowid AS id, t.*,"
                    " attn_score_at(0, t.through_head, t.key_feature, t.query_feature, d.distance) AS s"
                    f" FROM {table} AS t CROSS JOIN (SELECT unnest($distances::INTEGER[]) AS distance) AS d"
                    " WHERE t.head = -1 AND t.through_head = $head) AS r GROUP BY r.id, r.attn_score",
                    {"distances": distances[head], "head": head},
                )
                heads |= {head} if rows else set()
                for score, largest in rows:
                    assert score == pytest.approx(largest, abs=1e-9)
            assert heads == {0, 1}
            assert (
                warehouse.value(
                    "SELECT max(abs(attn_score - attn_score_at(0, through_head, key_feature, query_feature,"
                    f" attn_distance))) FROM {table} WHERE head = -1"
                )
                < 1e-9
            )


# --- a feature that needs two heads -------------------------------------------------------------------------------


def test_a_feature_of_two_heads_is_found_through_both(tmp_path: Path) -> None:
    """Head 0 moves the token before, head 1 the one before that: active where these are tokens 0 and 1."""
    n_seqs, seq_len, n_tokens = 60, 12, 4
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, n_tokens, (n_seqs, seq_len))
    every = [(s, q) for s in range(n_seqs) for q in range(seq_len)]
    active = [(s, q) for s, q in every if q > 2 and tokens[s, q - 1] == 0 and tokens[s, q - 2] == 1]
    shape = Tiny(seed=0, n_seqs=n_seqs, seq_len=seq_len, steep=False, sparse=False)
    one = [1.0, 0.0]
    of_decoder = ("decoder_bias_query", "decoder_bias_key", "decoder_bias_value")
    biases = ("b_Q", "b_K", "b_V", *of_decoder)
    heads = [
        {"layer": 0, "head": h, "attn_scale": 1.0, **{name: [0.0, 0.0] for name in biases}} for h in (0, 1)
    ]
    output = {"layer": 0, "head": WHOLE_LAYER, "feature": 0, "n_sequences": 0, "n_tokens": 0}
    rows: dict[str, list[dict[str, Any]]] = {
        "corpus": [tiny.corpus(shape)],
        "chunks": [{**tiny.chunk(shape), "heads": ["L0"]}],
        "vocabulary": [{"token_id": t, "token": f"t{t}"} for t in range(n_tokens + 1)],
        "tokens": [
            {"seq_id": s, "pos": q, "token_id": int(tokens[s, q]) if q else n_tokens} for s, q in every
        ],
        "token_scales": [
            {"layer": 0, "seq_id": s, "pos": q, "ln_scale": 1.0, "ln_scale_from_features": 1.0}
            | {"reconstruction_error": 0.0}
            for s, q in every
        ],
        "input_activations": [
            {"layer": 0, "seq_id": s, "pos": q, "feature": int(tokens[s, q]), "activation": 1.0}
            for s, q in every
            if q
        ],
        "attention_sources": [
            {"layer": 0, "head": h, "seq_id": s, "query_pos": q, "key_pos": max(0, q - 1 - h)}
            | {"weight": 1.0, "weight_from_features": 1.0}
            for h in (0, 1)
            for s, q in every
        ],
        "heads": heads,
        "projections": [
            {"layer": 0, "head": h, "feature": i, "key_vector": one, "query_vector": one}
            | {"value_vector": one if i == h else [0.0, 0.0]}
            for h in (0, 1)
            for i in range(n_tokens)
        ],
        "input_features": list(tiny.features(n_tokens, (0,))),
        "output_activations": [
            {"layer": 0, "head": WHOLE_LAYER, "seq_id": s, "pos": q, "feature": 0, "activation": 1.0}
            for s, q in active
        ],
        "output_features": [{**output, "encoder": None, "bias": -1.0, "preactivation_bias": -1.0}],
        "feature_heads": [
            {**tiny.only_head({**output, "encoder": one}), "through_head": h, "weight_share": 0.5}
            for h in (0, 1)
        ],
    }
    with Warehouse.create(tmp_path / "w.duckdb", d_head=2) as warehouse:
        with warehouse.transaction():
            for table, of_table in rows.items():
                warehouse.append(table, pa.Table.from_pylist(of_table))
        warehouse.refresh_derived()
        spec = SkipgramSpec(method="weighted", examples_per_split=2, max_rules=4)
        mine_skipgrams(warehouse, spec)
        found = warehouse.rows("SELECT through_head, key_feature FROM rules ORDER BY rank")
        assert set(found[:2]) == {(0, 0), (1, 1)}
        precision = dict(
            warehouse.rows(
                "SELECT method, average_precision FROM rule_metrics"
                " WHERE example_set = 'all_positions' AND split = 'test' AND n_rules IN (0, 4)"
            )
        )
        assert precision["weighted"] == precision["ceiling_from_features"] == 1.0
        # Through one head alone, it cannot be told.
        mine_skipgrams(warehouse, SkipgramSpec(**{**vars(spec), "heads": (0,)}))
        [(alone,)] = warehouse.rows(
            "SELECT average_precision FROM rule_metrics"
            " WHERE example_set = 'all_positions' AND split = 'test' AND method = 'weighted' AND n_rules = 4"
        )
        assert alone < 0.8


# --- a warehouse of both kinds ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """All of it mined, with every command."""
    with both_kinds(tmp_path_factory.mktemp("whole") / "w.duckdb") as warehouse:
        before = {result.name: result.n_problems for result in check(warehouse)}
        spec = SkipgramSpec(**{**EVERYTHING, "example_sets": ("paper",), "max_rules": 8})
        mined = mine_skipgrams(warehouse, spec)
        assert [(head.layer, head.head) for head in mined.heads] == [(0, -1), (0, 0), (0, 1), (1, 0)]
        mine_absence(warehouse, AbsenceSpec(pairs=2))
        mine_counting(warehouse, CountingSpec(min_support=1))
        assert {result.name: result.n_problems for result in check(warehouse)} == before
        yield warehouse


def test_distractors_are_keys_of_the_same_head(whole: Warehouse) -> None:
    tables = {head: slow.Tables(whole, 0, WHOLE_LAYER, through=head) for head in (0, 1)}
    rows = whole.rows(
        "SELECT feature, pair, through_head, key_feature, query_feature, value_score, attn_score,"
        " distractor_feature, distractor_value_score, distractor_attn_score"
        " FROM distractors WHERE layer = 0 AND head = -1"
    )
    live = [i for i in tables[0].keys if any(i in tables[0].active[place] for place in tables[0].positions)]
    assert {head for _, _, head, *_ in rows} == {0, 1}
    for f, pair, h, i, j, v, s, distractor, distractor_v, distractor_s in rows:
        own = tables[h]
        assert (v, s) == (own.v(f, i), own.s(i, j, "paper"))
        if pair == 1:
            values = {(head, key): other.v(f, key) for head, other in tables.items() for key in live}
            assert (h, i) == min(values, key=lambda key: (-values[key], key))
            assert j == min(live, key=lambda query: (-own.s(i, query, "paper"), query))
        pushed_down = [key for key in live if own.v(f, key) < 0]
        if v <= 0 or not pushed_down:
            assert distractor is None
        else:
            assert distractor == min(pushed_down, key=lambda key: (-own.s(key, j, "paper"), key))
            assert (distractor_v, distractor_s) == (own.v(f, distractor), own.s(distractor, j, "paper"))


def test_a_card_names_the_head_of_each_rule(whole: Warehouse) -> None:
    feature = FeatureId(0, WHOLE_LAYER, tiny.WHOLE_SEQUENCES)
    card = feature_card(whole, feature, n_rules=3)
    text = "\n".join(card_lines(card, Path("w.duckdb"), all_methods=True))
    assert re.search(r"^heads     by weights H0 50%, H1 50%$", text, re.MULTILINE)
    assert len(re.findall(r"→ L0\.2 through H[01]\b", text)) > 4
    assert {rule["through_head"] for rule in card.rules} == {0, 1}
    # Of a head's own SAE, nothing needs saying.
    assert "through" not in "\n".join(card_lines(feature_card(whole, FeatureId(0, 0, 2)), Path("w.duckdb")))


def test_the_rules_of_a_minimal_list_are_matched_through_their_heads(
    mined: Warehouse, tables: dict[int, slow.Tables]
) -> None:
    f = features_of(mined, tables)[0]
    at = {"layer": 0, "head": WHOLE_LAYER, "feature": f}
    named = {"method": "weighted", "scaling": "paper", "n_rules": 400, "bos_keys": False}
    step = Statements("attnrules.queries", "card")
    rules = {rank: key for rank, (key, _) in enumerate(rules_of(mined, "weighted")[f], start=1)}
    matches = mined.rows(step("rule_matches"), {**at, **named})
    assert {rules[rank][0] for rank, *_ in matches} == {0, 1}
    for rank, seq, q, score in matches:
        head, i = rules[rank]
        expected = tables[head].v(f, i) * tables[head].received(seq, q).get(i, 0.0)
        assert score == pytest.approx(expected, abs=1e-12)


def test_what_a_feature_reads_is_summed_over_heads(whole: Warehouse) -> None:
    f = tiny.WHOLE_SEQUENCES
    tables = [slow.Tables(whole, 0, WHOLE_LAYER, through=head) for head in (0, 1)]
    expected: dict[int, float] = {}
    for own in tables:
        for token, (here, _) in slow.token_sources(own, f).items():
            expected[token] = expected.get(token, 0.0) + here
    rows = ask(whole, "output_feature_sources", {"layer": 0, "head": -1, "feature": f}).fetchall()
    assert rows
    for token, _, contribution, *_ in rows:
        assert contribution == pytest.approx(expected[token])


def test_questions_and_macros_know_both_kinds(whole: Warehouse) -> None:
    answer = ask(whole, "heads", {"method": "weighted", "n_rules": 4, "example_set": "paper"})
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]
    assert [row["name"] for row in rows] == ["L0", "L0H0", "L0H1", "L1H0"]
    assert all(row["n_features_mined"] and row["kept_attention"] is not None for row in rows)
    found = whole.rows("SELECT method, rank, through_head, key_feature FROM rules_of(0, -1, 2) ORDER BY ALL")
    assert found == whole.rows(
        "SELECT method, rank, through_head, key_feature FROM rules"
        " WHERE layer = 0 AND head = -1 AND feature = 2 ORDER BY ALL"
    )
    tokens = ask(whole, "rule_tokens", {"layer": 0, "head": -1, "feature": 2, "n_rules": 4}).fetchall()
    assert {row[0] for row in tokens} >= {"weighted", "weighted_groups"}


def answers(warehouse: Warehouse, question: str, **parameters: Any) -> list[dict[str, Any]]:
    found = ask(warehouse, question, parameters)
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize(
    ("question", "asked"),
    [("features_by_distance", {"distance": 1}), ("features_at_copies", {"after": 0})],
)
def test_features_of_a_layer_look_through_each_of_its_heads(
    whole: Warehouse, question: str, asked: dict[str, int]
) -> None:
    """It said that no head attends to anything."""
    words = {(seq, pos): token for seq, pos, token in whole.rows("SELECT seq_id, pos, token_id FROM tokens")}
    weights = {row[:4]: row[4] for row in whole.rows(
        "SELECT head, seq_id, query_pos, key_pos, weight FROM attention_sources WHERE layer = 0"
    )}  # fmt: skip
    active = defaultdict(list)
    for feature, *place in whole.rows(
        "SELECT feature, seq_id, pos FROM output_activations WHERE layer = 0 AND head = -1"
    ):
        active[feature].append(tuple(place))

    def keys(seq: int, q: int) -> list[int]:
        if question == "features_by_distance":
            return [q - 1] if q > 1 else []
        return [k for k in range(1, q) if words[seq, k] == words[seq, q]]

    def mean(head: int, places: Iterable[tuple[int, int]]) -> float | None:
        sums = [
            sum(weights.get((head, seq, q, k), 0) for k in keys(seq, q)) for seq, q in places if keys(seq, q)
        ]
        return sum(sums) / len(sums) if len(sums) >= 20 else None

    expected = {
        (f"L0.{feature}", head): (
            pytest.approx(attention, abs=6e-4), pytest.approx(mean(head, words), abs=6e-4)
        )
        for feature, places in active.items()
        for head in (0, 1)
        if (attention := mean(head, places)) is not None
    }  # fmt: skip
    found = answers(whole, question, layer=0, head=-1, limit=1000, **asked)
    assert expected
    assert {
        (row["feature"], row["through_head"]): (row["attention"], row["attention_everywhere"])
        for row in found
    } == expected
    [of_head] = {
        row["through_head"] for row in answers(whole, question, layer=0, head=1, limit=1000, **asked)
    }
    assert of_head == 1


@pytest.mark.parametrize("question", ["head_profile", "why_attends"])
def test_what_a_head_does_is_not_asked_of_a_layer(whole: Warehouse, question: str) -> None:
    with pytest.raises(UsageError, match=f"{question}: head=-1 is an SAE over a whole layer; name a head"):
        ask(whole, question, {"layer": 0, "head": -1})


def test_rules_of_a_layer_are_compared_with_each_other(whole: Warehouse) -> None:
    found = answers(whole, "like_rules", layer=0, head=-1, other_head=-1)
    assert all(row["feature"].startswith("L0.") and row["other_feature"].startswith("L0.") for row in found)


@pytest.mark.parametrize("head", [WHOLE_LAYER, 0])
def test_a_page_says_whose_attention_it_shows(whole: Warehouse, head: int) -> None:
    [(feature,)] = whole.rows("SELECT min(feature) FROM rules WHERE layer = 0 AND head = $h", {"h": head})
    found = head_pages(whole, 0, head, [feature])
    page = feature_page(
        environment(), found, next(row for row in found.features if row["feature"] == feature)
    )
    assert ("all heads of the layer added up" in page) == (head == WHOLE_LAYER)
    assert ("that of all heads of the layer, added up" in page) == (head == WHOLE_LAYER)
