"""What pages, shell and notebook stand on: macros and views compared with slow readings of the same tables."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnrules.errors import AttnRulesError
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.queries.stated import parse
from attnrules.queries.stated.members import resolved, table_of
from attnrules.warehouse import Warehouse
from tests import stated_ground_truth as truth
from tests.slow import assert_logits_give_attention
from tests.slow_stated import texts

LAYER, HEAD = 1, 0


@pytest.fixture(scope="module")
def small(small_once: Path) -> Iterator[Warehouse]:
    """Every pair of positions is stored; rules of the default methods."""
    with Warehouse.open(small_once) as warehouse:
        yield warehouse


def some_feature(warehouse: Warehouse) -> int:
    """A feature of the head with rules, active at many positions."""
    ask = (
        "SELECT f.feature FROM output_features AS f SEMI JOIN rules AS r USING (layer, head, feature)"
        f" WHERE (f.layer, f.head) = ({LAYER}, {HEAD}) ORDER BY abs(f.n_tokens - 100), f.feature LIMIT 1"
    )
    return int(warehouse.value(ask))


def sequences(warehouse: Warehouse) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    ask = "SELECT t.seq_id, v.token FROM tokens AS t JOIN vocabulary AS v USING (token_id) ORDER BY t.seq_id, t.pos"
    for seq, token in warehouse.rows(ask):
        found[seq].append(token)
    return found


# --- text ------------------------------------------------------------------------------------------


def around(tokens: list[str], pos: int) -> tuple[str, str, str]:
    return "".join(tokens[max(0, pos - 16) : pos]), tokens[pos], "".join(tokens[pos + 1 : pos + 9])


def test_activations_stand_in_their_text(small: Warehouse) -> None:
    of, feature = sequences(small), some_feature(small)
    stored = small.rows(
        "SELECT seq_id, pos, activation FROM output_activations"
        f" WHERE (layer, head, feature) = ({LAYER}, {HEAD}, {feature}) AND pos > 0"
    )
    values = [row[2] for row in stored]
    expected = {
        (seq, pos, value, sum(v < value for v in values) / (len(values) - 1), *around(of[seq], pos))
        for seq, pos, value in stored
    }
    found = small.rows(f"FROM activations_of({LAYER}, {HEAD}, {feature})")
    assert set(found) == expected
    assert [row[2] for row in found] == sorted(values, reverse=True)


@pytest.mark.parametrize("text", [" the", "Montreal", "e", "l", " of the", "nowhere to be found", ""])
def test_a_text_is_found_where_it_ends(small: Warehouse, text: str) -> None:
    expected = []
    for seq, tokens in sequences(small).items():
        so_far, n = "", 0
        for pos, token in enumerate(tokens[1:], 1):
            so_far += token
            if text and so_far.count(text) > n:
                n = so_far.count(text)
                expected.append((seq, pos, *around(tokens, pos)))
    assert small.rows("FROM text_search($text)", {"text": text}) == expected


# --- attention -------------------------------------------------------------------------------------


def test_the_parts_of_a_logit_are_products_of_the_vectors(small: Warehouse) -> None:
    seq, q, k = 3, 9, 4
    found = small.rows(f"FROM attention_terms({LAYER}, {HEAD}, {seq}, {q}, {k})")
    [(attn_scale, b_Q, b_K, bias_Q, bias_K)] = small.rows(
        "SELECT attn_scale, b_Q, b_K, decoder_bias_query, decoder_bias_key FROM heads"
        f" WHERE (layer, head) = ({LAYER}, {HEAD})"
    )
    scale = dict(
        small.rows(
            f"SELECT pos, ln_scale_from_features FROM token_scales WHERE (layer, seq_id) = ({LAYER}, {seq})"
        )
    )

    def side(pos: int, vector: str, bias: Any, decoder_bias: Any) -> dict[int | None, Any]:
        rows = small.rows(
            f"SELECT i.feature, i.activation, p.{vector}_vector FROM input_activations AS i"
            " JOIN projections AS p USING (layer, feature)"
            f" WHERE (i.layer, p.head, i.seq_id, i.pos) = ({LAYER}, {HEAD}, {seq}, {pos})"
        )
        constant = np.array(bias, float) + np.array(decoder_bias, float) / scale[pos]
        return {None: constant, **{f: a / scale[pos] * np.array(v, float) for f, a, v in rows}}

    keys, queries = side(k, "key", b_K, bias_K), side(q, "query", b_Q, bias_Q)
    assert len(keys) > 1
    assert {(i, j): logit for i, _, j, _, logit in found} == {
        (i, j): pytest.approx(float(key @ query) / attn_scale, abs=1e-9)
        for i, key in keys.items()
        for j, query in queries.items()
    }


def test_the_parts_add_up_to_the_stored_attention(small: Warehouse) -> None:
    assert_logits_give_attention(small, [(0, 0), (0, 1), (1, 0)], query_pos=8, n_sequences=4)


def test_sources_take_attention_and_scale_from_the_features_too(small: Warehouse) -> None:
    feature, seq, pos = some_feature(small), 2, 7
    scales = {
        row[0]: row[1:]
        for row in small.rows(
            "SELECT pos, ln_scale, ln_scale_from_features FROM token_scales"
            f" WHERE (layer, seq_id) = ({LAYER}, {seq})"
        )
    }
    [(b_V, decoder_bias, w)] = small.rows(
        "SELECT h.b_V, h.decoder_bias_value, f.encoder FROM heads AS h JOIN output_features AS f USING (layer, head)"
        f" WHERE (layer, head, feature) = ({LAYER}, {HEAD}, {feature})"
    )
    rows = small.rows(
        f"SELECT key_pos, distance, weight, weight_from_features, contribution_from_features,"
        f" contribution_all_from_features FROM dfa({LAYER}, {HEAD}, {feature}, {seq}, {pos})"
    )
    assert [row[:2] for row in rows] == [(k, pos - k) for k in range(pos + 1)]
    for k, _, weight, from_features, contribution, all_from_features in rows:
        value = np.array(decoder_bias, float)
        for activation, vector in small.rows(
            "SELECT i.activation, p.value_vector FROM input_activations AS i JOIN projections AS p USING (layer, feature)"
            f" WHERE (i.layer, p.head, i.seq_id, i.pos) = ({LAYER}, {HEAD}, {seq}, {k})"
        ):
            value = value + activation * np.array(vector, float)
        for found, attention, scale in (
            (contribution, weight, scales[k][0]),
            (all_from_features, from_features, scales[k][1]),
        ):
            expected = attention * float((np.array(b_V, float) + value / scale) @ np.array(w, float))
            assert found == pytest.approx(expected, abs=1e-5)


def read_side(warehouse: Warehouse, table: str, columns: str, where: str) -> list[tuple[Any, ...]]:
    return warehouse.rows(f"SELECT {columns} FROM {table} WHERE layer = {LAYER} AND {where}")


def slow_parts(
    warehouse: Warehouse, feature: int, seq: int, pos: int, method: str, n_rules: int
) -> dict[tuple[str, int | None], float]:
    """The parts of an activation, key by key; only attention, activations and vectors are looked up."""
    [(w, constant)] = read_side(
        warehouse, "output_features", "encoder, preactivation_bias", f"(head, feature) = ({HEAD}, {feature})"
    )
    [(b_V, decoder)] = read_side(warehouse, "heads", "b_V, decoder_bias_value", f"head = {HEAD}")
    weights = dict(
        read_side(
            warehouse,
            "attention_sources",
            "key_pos, weight",
            f"(head, seq_id, query_pos) = ({HEAD}, {seq}, {pos})",
        )
    )
    scales = dict(read_side(warehouse, "token_scales", "pos, ln_scale", f"seq_id = {seq}"))
    vectors = dict(read_side(warehouse, "projections", "feature, value_vector", f"head = {HEAD}"))
    active = read_side(warehouse, "input_activations", "pos, feature, activation", f"seq_id = {seq}")
    here = {i for k, i, _ in active if k == pos}
    ranks: dict[int, int] = {}
    of_list = f"(head, feature, method) = ({HEAD}, {feature}, '{method}') AND rank <= {n_rules}"
    for rank, key, query in sorted(
        read_side(warehouse, "rules", "rank, key_feature, coalesce(query_feature, -1)", of_list)
    ):
        if query in (-1, *here):
            ranks.setdefault(key, rank)
    parts: dict[tuple[str, int | None], float] = defaultdict(float)
    parts["biases", None] = constant
    for k, weight in weights.items():
        parts["biases", None] += weight * float((np.array(b_V) + np.array(decoder) / scales[k]) @ np.array(w))
    for k, i, activation in active:
        if k in weights:
            brought = weights[k] * activation * float(np.array(vectors[i]) @ np.array(w)) / scales[k]
            part = ("rule", ranks[i]) if i in ranks else ("keys without a rule", None)
            parts[part if k else ("keys at BOS", None)] += brought
    return parts


@pytest.mark.parametrize(
    ("method", "n_rules"), [("weighted", 4), ("weighted_gates", 16), ("weighted_groups", 64)]
)
def test_the_parts_of_an_activation_are_what_keys_and_biases_bring(
    small: Warehouse, method: str, n_rules: int
) -> None:
    feature = some_feature(small)
    places = small.rows(
        "SELECT seq_id, pos, activation FROM output_activations"
        f" WHERE (layer, head, feature) = ({LAYER}, {HEAD}, {feature}) AND pos > 0 ORDER BY activation DESC LIMIT 3"
    )
    for seq, pos, activation in places:
        found = {
            (part, rank): amount
            for part, rank, amount in small.rows(
                "SELECT part, rank, amount FROM"
                f" activation_parts({LAYER}, {HEAD}, {feature}, {seq}, {pos}, '{method}', 'paper', {n_rules})"
            )
        }
        expected = slow_parts(small, feature, seq, pos, method, n_rules)
        rest = found.pop(("what the features miss", None))
        assert found == {part: pytest.approx(amount, abs=1e-5) for part, amount in expected.items()}
        assert rest + sum(found.values()) == pytest.approx(activation, abs=1e-6)
        assert any(part == "rule" for part, _ in found)


def test_of_a_silent_feature_the_rest_is_not_known(small: Warehouse) -> None:
    feature = some_feature(small)
    [(seq, pos)] = small.rows(
        "SELECT seq_id, pos FROM tokens ANTI JOIN (FROM output_activations"
        f" WHERE (layer, head, feature) = ({LAYER}, {HEAD}, {feature})) USING (seq_id, pos)"
        " WHERE pos > 3 ORDER BY ALL LIMIT 1"
    )
    rows = small.rows(
        f"SELECT part, amount FROM activation_parts({LAYER}, {HEAD}, {feature}, {seq}, {pos}, 'weighted', 'paper', 4)"
    )
    assert [part for part, amount in rows if amount is None] == ["what the features miss"]


def test_parts_by_rules_that_have_no_keys_are_refused(small: Warehouse) -> None:
    for method in ("stated", "magnitude"):
        with pytest.raises(AttnRulesError, match="no rules of that method and scaling"):
            small.rows(
                f"FROM activation_parts({LAYER}, {HEAD}, {some_feature(small)}, 0, 5, '{method}', 'paper', 4)"
            )
    assert small.rows("FROM activation_parts(0, 0, NULL, 0, 5, 'weighted', 'paper', 4)") == []


def attention_of(warehouse: Warehouse) -> list[tuple[int, int, int, float]]:
    return warehouse.rows(
        f"SELECT seq_id, query_pos, key_pos, weight FROM attention_sources WHERE (layer, head) = ({LAYER}, {HEAD})"
    )


def test_distances_of_sources_where_active_and_anywhere(small: Warehouse) -> None:
    feature = some_feature(small)
    active = set(
        small.rows(
            "SELECT seq_id, pos FROM output_activations"
            f" WHERE (layer, head, feature) = ({LAYER}, {HEAD}, {feature}) AND pos > 0"
        )
    )
    n_positions = small.value("SELECT count(*) FROM tokens WHERE pos > 0")
    assert len(active) <= 1000
    assert n_positions <= 8192  # so that nothing is drawn
    sums: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for seq, q, k, weight in attention_of(small):
        if k > 0:
            sums[q - k][0] += weight / len(active) * ((seq, q) in active)
            sums[q - k][1] += weight / n_positions
    found = small.rows(f"FROM source_distances({LAYER}, {HEAD}, {feature})")
    assert found == [(HEAD, d, *(pytest.approx(x, abs=1e-9) for x in sums[d])) for d in sorted(sums)]


def test_distances_and_entropy_of_a_head(small: Warehouse) -> None:
    by_distance: dict[int, float] = defaultdict(float)
    nats, queries = 0.0, set()
    for seq, q, k, weight in attention_of(small):
        if q < 2:
            continue
        queries.add((seq, q))
        nats -= weight * math.log(weight) if weight else 0.0
        if k > 0:
            by_distance[q - k] += weight
    total = sum(by_distance.values())
    found = small.rows(f"FROM head_attention({LAYER}, {HEAD})")
    assert found == [
        (d, *(pytest.approx(x, abs=1e-9) for x in (w, w / total, nats / len(queries))))
        for d, w in sorted(by_distance.items())
    ]


# --- rules -----------------------------------------------------------------------------------------


def test_what_rules_add_makes_up_what_their_list_predicts(mined_once: Path) -> None:
    """Predictions of lists come from other code, which reads all examples at once."""
    with Warehouse.open(mined_once) as warehouse:
        rows = warehouse.rows(
            "SELECT p.method, p.scaling, p.n_rules, p.prediction, m.match_score, p.layer, p.head, p.feature, p.seq_id, p.pos"
            " FROM rule_predictions AS p JOIN methods AS m USING (method)"
            " WHERE m.kind = 'rules' AND p.example_set = 'paper' AND p.n_rules IN (4, 64) AND p.label = 1"
            " AND (p.layer, p.head) IN ((0, 0), (1, 1))"
            " QUALIFY row_number() OVER (PARTITION BY p.method, p.scaling, p.n_rules ORDER BY mix32(p.seq_id), p.feature) <= 4"
        )
        assert {row[4] for row in rows} >= {"carried", "product", "linear", "own"}
        for method, scaling, n_rules, prediction, match_score, *at in rows:
            places = ", ".join(map(str, at))
            adds = [
                row[0]
                for row in warehouse.rows(
                    f"SELECT adds FROM rules_at({places}) WHERE (method, scaling) = ('{method}', '{scaling}')"
                    f" AND rank <= {n_rules}"
                )
            ]
            together = sum(adds) if match_score in ("carried", "holds") else max(adds, default=0.0)
            if adds and match_score == "holds":
                prior = warehouse.value(
                    f"SELECT any_value(prior) FROM stated_rules WHERE (layer, head, feature) = {tuple(at[:3])}"
                )
                together = 1 / (1 + math.exp(-(prior + together)))
            assert together == pytest.approx(prediction, rel=1e-5, abs=1e-6), (method, scaling, n_rules, at)
        assert sum(row[3] != 0 for row in rows) > len(rows) / 2


STATEMENTS = (
    *(head.statement for head in truth.HEADS),
    "at least 2 of ['w1', 'w2', 'w3'] anywhere",
    "at least 2 of [same] before",
    "no [same] at -3..-1 and ['w1'] anywhere",
    "['w2', 'w5'] at copy",
    "no ['w7'] after copy and [same] before",
    "position 3..6 and ['w1', L0.i2] at ..-2",
    "no ['w1'] anywhere and no [L0.i2 > 0.5] at 0",
    "[L0.i3 > 0.5] at 0",
    "position 9.. and at least 3 of [L0.i0, L0.i4, 'w5'] at -6..-1",
    "[t3, t4] at -2..0 and [t5] after copy",
)


@pytest.fixture(scope="module")
def stated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A warehouse whose first feature has a stated rule of every kind, and others those that were mined."""
    path = tmp_path_factory.mktemp("views") / "w.duckdb"
    with truth.build(path) as warehouse:
        spec = SkipgramSpec(
            method="stated", n_features=None, min_count=1, max_count=truth.N_SEQS, examples_per_split=1,
            example_sets=("all_positions",), held_out=60, max_rules=16, heads=(1, 2, 3),
        )  # fmt: skip
        mine_skipgrams(warehouse, spec)
        for rank, statement in enumerate(STATEMENTS, 1):
            rows = resolved(warehouse, parse(statement)[0])
            place = {"layer": 0, "head": 0, "feature": 0, "rank": rank, "run_id": 1}
            columns = {name: [value] * len(rows) for name, value in place.items()}
            warehouse.append("stated_atoms", table_of(rows, **columns))
            warehouse.execute(
                "INSERT INTO stated_rules BY NAME SELECT $rank AS rank, $statement AS statement, 0 AS layer, 0 AS head,"
                " 0 AS feature, $rank / 8 AS weight, -2 AS prior, 0 AS sample_precision, 0 AS sample_recall, 1 AS run_id",
                {"rank": rank, "statement": statement},
            )
        yield warehouse


def test_stated_rules_hold_where_a_reader_says(stated: Warehouse) -> None:
    read = texts(stated)
    places = [(seq, q) for seq in range(0, 40) for q in range(truth.SEQ_LEN)]
    found: dict[tuple[int, int], list[str]] = defaultdict(list)
    for seq, pos, statement in stated.rows(
        "SELECT t.seq_id, t.pos, s.statement FROM tokens AS t, LATERAL"
        " (FROM stated_at(0, 0, 0, t.seq_id, t.pos)) AS s WHERE t.seq_id < 40 ORDER BY s.rank"
    ):
        found[seq, pos].append(statement)
    expected = {
        (seq, q): [s for s in STATEMENTS if q > 0 and read[seq].holds(parse(s)[0], q)] for seq, q in places
    }
    assert {place: found[place] for place in places} == expected
    assert {s for held in expected.values() for s in held} == set(STATEMENTS)


def test_stated_rules_add_their_weight(stated: Warehouse) -> None:
    rows = stated.rows("SELECT method, rank, adds, words, key_pos FROM rules_at(0, 0, 0, 3, 9)")
    assert rows
    assert rows == [("stated", rank, rank / 8, STATEMENTS[rank - 1], None) for _, rank, *_ in rows]


def assert_outcomes_are_as_judged(warehouse: Warehouse, where: str) -> None:
    lists = warehouse.rows(
        "SELECT layer, head, feature, method, n_rules, n_active, precision_at_threshold, recall_at_threshold"
        f" FROM rule_metrics WHERE example_set = 'all_positions' AND split = 'test' AND {where} ORDER BY ALL"
    )
    assert lists
    for *of, n_active, precision, recall in lists:
        layer, head, feature, method, n_rules = of
        counts = dict(
            warehouse.rows(
                f"SELECT outcome, count(*) FROM held_out_outcomes({layer}, {head}, {feature}, '{method}', {n_rules})"
                " GROUP BY ALL"
            )
        )
        hits, alarms, misses = (counts.get(name, 0) for name in ("hit", "false alarm", "miss"))
        assert hits + misses == n_active
        assert (hits / n_active if n_active else 1.0) == recall, of
        assert (hits / (hits + alarms) if hits + alarms else 1.0) == precision, of


def test_hits_and_false_alarms_are_those_that_were_judged(small: Warehouse) -> None:
    some = some_feature(small)
    assert_outcomes_are_as_judged(
        small, f"(layer, head, feature) = ({LAYER}, {HEAD}, {some}) AND n_rules IN (4, 64) AND kind = 'rules'"
    )


def test_hits_of_stated_rules_are_those_that_were_judged(stated: Warehouse) -> None:
    assert_outcomes_are_as_judged(stated, "method = 'stated' AND n_rules = 4")


def test_of_no_feature_there_are_no_outcomes(small: Warehouse) -> None:
    assert small.rows("FROM held_out_outcomes(NULL, NULL, NULL, 'weighted', 4)") == []


def test_a_list_that_was_not_judged_is_refused(small: Warehouse) -> None:
    with pytest.raises(AttnRulesError, match="no list of so many rules"):
        small.rows(f"FROM held_out_outcomes({LAYER}, {HEAD}, {some_feature(small)}, 'weighted', 5)")


# --- heads -----------------------------------------------------------------------------------------


def best_of_short_lists(warehouse: Warehouse, layer: int, head: int) -> list[float]:
    """By feature, the average precision on test of the list of at most 16 rules that is best on train."""
    by_list: dict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
    for split, value, *of in warehouse.rows(
        "SELECT split, average_precision, feature, method, scaling, n_rules FROM rule_metrics WHERE kind = 'rules'"
        f" AND example_set = 'all_positions' AND n_rules_used <= 16 AND (layer, head) = ({layer}, {head})"
    ):
        by_list[tuple(of)][split] = value
    by_feature: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for (feature, *_), value in by_list.items():
        if None not in (value.get("train"), value.get("test")):
            by_feature[feature].append((value["train"], value["test"]))
    return [max(pairs)[1] for pairs in by_feature.values()]


def test_the_summary_of_heads_counts_what_lists_say(small: Warehouse) -> None:
    found = {
        row[:2]: row[2:]
        for row in small.rows(
            "SELECT layer, head, n_firing, n_judged, median_average_precision, median_average_precision_16, n_counting_rules,"
            " role FROM head_summary"
        )
    }
    best: dict[tuple[int, int], list[float]] = defaultdict(list)
    for layer, head, value in small.rows(
        "SELECT layer, head, average_precision FROM best_lists WHERE example_set = 'all_positions'"
    ):
        best[layer, head].append(value)
    counted = {
        (layer, head): n
        for layer, head, n in small.rows(
            "SELECT layer, head, count(DISTINCT feature) FROM counting_rules GROUP BY ALL"
        )
    }
    assert any(best.values())
    for (layer, head), (n_firing, n_judged, median, median_16, n_counting, role) in found.items():
        at_head = f"(layer, head) = ({layer}, {head})"
        assert n_firing == small.value(
            f"SELECT count(DISTINCT feature) FROM output_activations WHERE {at_head}"
        )
        assert n_judged == len(best[layer, head])
        assert n_counting == counted.get((layer, head), 0)
        if n_judged:
            assert median == pytest.approx(np.median(best[layer, head]))
            assert median_16 == pytest.approx(np.median(best_of_short_lists(small, layer, head)))
        roles = small.rows(
            f"SELECT role, attention - control, attention_low - control FROM head_roles WHERE {at_head}"
        )
        clear = {name: excess for name, excess, low in roles if low is not None and low >= 0.1}
        assert role == (max(clear, key=lambda name: clear[name]) if clear else None)
