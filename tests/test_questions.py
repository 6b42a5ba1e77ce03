"""Named questions that count or average, compared with slow readings of the same tables."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnrules.errors import AttnRulesError, UsageError
from attnrules.pages import wording
from attnrules.queries.evaluation import EXAMPLE_SETS
from attnrules.queries.heads import SCALINGS
from attnrules.queries.questions import ask, questions, why_empty
from attnrules.queries.stated.language import Atom, InputFeature, parse
from attnrules.warehouse import Warehouse
from tests.test_stated_on_model import store

LAYER, HEAD = 1, 0
AT = {"layer": LAYER, "head": HEAD}


@pytest.fixture(scope="module")
def small(small_once: Path) -> Iterator[Warehouse]:
    with Warehouse.open(small_once) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def words(small: Warehouse) -> dict[tuple[int, int], str]:
    rows = small.rows(
        "SELECT t.seq_id, t.pos, v.token FROM tokens AS t JOIN vocabulary AS v USING (token_id)"
    )
    return {(seq, pos): token for seq, pos, token in rows}


@pytest.fixture(scope="module")
def attention(small: Warehouse) -> dict[tuple[int, int, int], float]:
    rows = small.rows(
        f"SELECT seq_id, query_pos, key_pos, weight FROM attention_sources WHERE (layer, head) = ({LAYER}, {HEAD})"
    )
    return {(seq, q, k): weight for seq, q, k, weight in rows}


@pytest.fixture(scope="module")
def active(small: Warehouse) -> dict[int, set[tuple[int, int]]]:
    """Where each feature of the head is active, BOS left out."""
    found = defaultdict(set)
    for feature, seq, pos in small.rows(
        "SELECT feature, seq_id, pos FROM output_activations"
        f" WHERE (layer, head) = ({LAYER}, {HEAD}) AND pos > 0"
    ):
        found[feature].add((seq, pos))
    return found


def answers(warehouse: Warehouse, question: str, **parameters: Any) -> list[dict[str, Any]]:
    relation = ask(warehouse, question, parameters)
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def test_every_question_has_a_group_and_says_what_its_parameters_are() -> None:
    for question in questions().values():
        assert question.statement.text.splitlines()[1].startswith("-- Group: ")
        assert all(question.meanings.values())


def test_features_are_ranked_by_attention_at_a_distance(
    small: Warehouse, attention: dict[Any, float], active: dict[int, set[tuple[int, int]]]
) -> None:
    expected = {}
    for feature, places in active.items():
        far = [(seq, q) for seq, q in places if q > 2]
        # A key at BOS is no key.
        if len(far) >= 20:
            expected[f"L1H0.{feature}"] = sum(attention.get((seq, q, q - 2), 0.0) for seq, q in far) / len(
                far
            )
    found = answers(small, "features_by_distance", **AT, distance=2, limit=1000)
    assert {row["feature"]: row["attention"] for row in found} == {
        name: pytest.approx(value, abs=6e-4) for name, value in expected.items()
    }
    assert [row["attention"] for row in found] == sorted((row["attention"] for row in found), reverse=True)


@pytest.mark.parametrize("after", [0, 1])
def test_features_that_look_at_copies(
    small: Warehouse,
    words: dict[tuple[int, int], str],
    attention: dict[Any, float],
    active: dict[int, set[tuple[int, int]]],
    after: int,
) -> None:
    def copies(seq: int, q: int) -> list[int]:
        return [k + after for k in range(1, q) if words[seq, k] == words[seq, q]]

    expected = {}
    for feature, places in active.items():
        with_copy = [(seq, q) for seq, q in places if copies(seq, q)]
        if len(with_copy) >= 20:
            total = sum(attention.get((seq, q, k), 0.0) for seq, q in with_copy for k in copies(seq, q))
            expected[f"L1H0.{feature}"] = (total / len(with_copy), len(with_copy) / len(places))
    found = answers(small, "features_at_copies", **AT, after=after, limit=1000)
    assert expected
    assert {row["feature"]: (row["attention"], row["share_with_copy"]) for row in found} == {
        name: tuple(pytest.approx(x, abs=6e-4) for x in value) for name, value in expected.items()
    }


def test_attention_from_token_to_token_beside_like_distances(
    small: Warehouse, words: dict[tuple[int, int], str], attention: dict[Any, float]
) -> None:
    counts: dict[str, int] = defaultdict(int)
    for (_, pos), word in words.items():
        counts[word] += pos > 0
    query, key = sorted(counts, key=lambda word: (-counts[word], word))[:2]
    pairs = [
        (seq, q, k)
        for (seq, q), word in words.items()
        if word == query
        for k in range(1, q + 1)
        if words[seq, k] == key
    ]
    at_distance: dict[int, list[float]] = defaultdict(list)
    for seq, q in words:
        for k in range(1, q + 1):
            at_distance[q - k].append(attention.get((seq, q, k), 0.0))
    control = sum(sum(at_distance[q - k]) / len(at_distance[q - k]) for _, q, k in pairs) / len(pairs)
    [row] = [
        row
        for row in answers(small, "attention_between", query_token=query, key_token=key)
        if row["head"] == "L1H0"
    ]
    assert row["n_pairs"] == len(pairs)
    assert row["attention"] == pytest.approx(
        sum(attention.get(pair, 0.0) for pair in pairs) / len(pairs), abs=6e-5
    )
    assert row["attention_at_like_distances"] == pytest.approx(control, abs=6e-5)


def first_keys(warehouse: Warehouse, head: int) -> dict[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for feature, key in warehouse.rows(
        "SELECT feature, key_feature FROM rules WHERE method = 'weighted' AND rank <= 16"
        f" AND (layer, head) = ({LAYER}, {head})"
    ):
        found[feature].add(key)
    return found


def test_keys_that_recur_are_counted_once_a_feature(small: Warehouse) -> None:
    features: dict[int, set[int]] = defaultdict(set)
    for feature, keys in first_keys(small, HEAD).items():
        for key in keys:
            features[key].add(feature)
    found = answers(small, "recurring_keys", **AT, limit=10_000)
    assert {row["key_feature"]: row["n_features"] for row in found} == {
        key: len(of) for key, of in features.items() if len(of) > 1
    }


def test_conditions_that_recur_are_those_of_the_rules_as_written(small: Warehouse) -> None:
    """The atoms of each rule's text, a member at a time, in place of the columns of stated_atoms."""
    found = answers(small, "recurring_conditions", **AT, limit=10_000)
    wanted: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for feature, rank, statement in small.rows(
        f"SELECT feature, rank, statement FROM stated_rules WHERE (layer, head) = ({LAYER}, {HEAD}) AND rank <= 16"
    ):
        for atom in parse(statement)[0].atoms:
            if isinstance(atom, Atom):
                for member in atom.members:
                    bare = replace(member, above=0.0) if isinstance(member, InputFeature) else member
                    wanted[str(replace(atom, members=(bare,)))].add((feature, rank))
    expected = {
        text: (len({feature for feature, _ in rules}), len(rules))
        for text, rules in wanted.items()
        if len({feature for feature, _ in rules}) > 1
    }
    assert expected
    assert {wording.condition(row): (row["n_features"], row["n_rules"]) for row in found} == expected
    for row in found:
        assert row["features"] == sorted({feature for feature, _ in wanted[wording.condition(row)]})[:8]
    assert [row["n_features"] for row in found] == sorted((row["n_features"] for row in found), reverse=True)


def test_rules_that_recur_have_the_same_words(small_once: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(small_once, tmp_path / "recurring.duckdb"))
    with Warehouse.open(path, writable=True) as warehouse:
        features = [feature for (feature,) in warehouse.rows(
            f"SELECT feature FROM output_features WHERE (layer, head) = ({LAYER}, {HEAD}) ORDER BY feature LIMIT 3"
        )]  # fmt: skip
        for feature in features[:2]:
            store(warehouse, (LAYER, HEAD, feature), 101, "['Paris'] at -1")
        store(warehouse, (LAYER, HEAD, features[2]), 102, "['Paris'] at 0")
    with Warehouse.open(path) as warehouse:
        found = answers(warehouse, "recurring_statements", **AT, limit=10_000)
    assert [
        (row["head"], row["n_features"], row["best_rank"], row["features"])
        for row in found
        if row["statement"] == "['Paris'] at -1"
    ] == [("L1H0", 2, 101, features[:2])]
    assert "['Paris'] at 0" not in {row["statement"] for row in found}


def test_features_with_like_rules_share_keys(small: Warehouse) -> None:
    ours, theirs = first_keys(small, 0), first_keys(small, 1)
    expected = {
        (f"L1H0.{f}", f"L1H1.{g}"): round(len(a & b) / len(a | b), 3)
        for f, a in ours.items()
        for g, b in theirs.items()
        if a & b
    }
    found = answers(small, "like_rules", **AT, other_head=1, limit=100_000)
    assert {(row["feature"], row["other_feature"]): row["share_of_keys"] for row in found} == expected


def test_features_like_one_share_keys_of_the_same_sign(small: Warehouse) -> None:
    keys: dict[str, dict[int, tuple[float, bool]]] = defaultdict(dict)
    for head, feature, key, value in small.rows(
        "SELECT head, feature, key_feature, value_score FROM rules WHERE method = 'weighted' AND rank <= 16"
        f" AND layer = {LAYER}"
    ):
        name = f"L{LAYER}H{head}.{feature}"
        keys[name][key] = max(keys[name].get(key, (-1.0, False)), (abs(value), value > 0))
    signed = {name: {(key, raises) for key, (_, raises) in of.items()} for name, of in keys.items()}
    related = 0
    for one in sorted(name for name in signed if name.startswith(f"L{LAYER}H{HEAD}.")):
        expected = {
            other: round(len(signed[one] & of) / (len(signed[one]) + len(of) - len(signed[one] & of)), 3)
            for other, of in signed.items()
            if other != one and signed[one] & of
        }
        found = answers(small, "related_features", **AT, feature=int(one.split(".")[1]), limit=100_000)
        assert {row["other_feature"]: row["share_of_keys"] for row in found} == expected
        related += len(expected)
    assert related


def test_parts_of_an_activation_are_those_of_the_strongest_where_none_is_named(small: Warehouse) -> None:
    found = answers(small, "activation_parts", n_rules=4)
    [(strongest,)] = small.rows(
        "SELECT max(activation) FROM output_activations AS o SEMI JOIN (FROM rules WHERE method = 'weighted_groups'"
        " ORDER BY layer, head, feature LIMIT 1) USING (layer, head, feature) WHERE pos > 0"
    )
    assert sum(row["amount"] for row in found) == pytest.approx(strongest, abs=1e-3)
    assert {(row["feature"], row["seq_id"], row["pos"]) for row in found} == set(
        small.rows(
            "SELECT format('{}.{}', head_label(layer, head), feature), arg_max(seq_id, (activation, -seq_id, -pos)),"
            " arg_max(pos, (activation, -seq_id, -pos)) FROM output_activations SEMI JOIN (FROM rules"
            " WHERE method = 'weighted_groups' ORDER BY layer, head, feature LIMIT 1) USING (layer, head, feature)"
            " WHERE pos > 0 GROUP BY ALL"
        )
    )


def test_features_at_a_token_have_the_lift_of_the_view(small: Warehouse) -> None:
    token = small.value(
        "SELECT token FROM output_feature_tokens GROUP BY token ORDER BY count(*) DESC, token LIMIT 1"
    )
    expected = {
        f"L{layer}H{head}.{feature}": (round(lift, 1), n)
        for layer, head, feature, lift, n in small.rows(
            "SELECT layer, head, feature, lift, n_active FROM output_feature_tokens WHERE token = $token",
            {"token": token},
        )
    }
    found = answers(small, "features_at_token", token=token, limit=100_000)
    assert {row["feature"]: (row["lift"], row["n_active"]) for row in found} == expected


def test_what_fires_at_a_text_is_counted_at_its_ends(
    small: Warehouse, words: dict[tuple[int, int], str], active: dict[int, set[tuple[int, int]]]
) -> None:
    text = words[0, 3]
    ends = set(small.rows("SELECT seq_id, pos FROM text_search($text)", {"text": text}))
    found = answers(small, "fires_at_text", text=text, limit=100_000)
    assert {row["n_places"] for row in found} == {len(ends)}
    at_ends = {f"L1H0.{feature}": len(places & ends) for feature, places in active.items() if places & ends}
    assert at_ends
    assert {r["feature"]: r["n_active"] for r in found if r["feature"].startswith("L1H0.")} == at_ends


def test_where_rules_fail_names_failures_alone_when_asked(small: Warehouse) -> None:
    found = answers(small, "where_rules_fail", outcome="false alarm", n_rules=4, limit=5)
    assert {row["outcome"] for row in found} <= {"false alarm"}
    assert all(row["activation"] is None and row["prediction"] > row["threshold"] for row in found)
    assert answers(small, "where_rules_fail", n_rules=4, limit=5)
    # Of a length that nothing was judged at there is nothing to say, unless a feature is named.
    assert answers(small, "where_rules_fail", n_rules=5) == []
    [(layer, head, feature)] = small.rows("SELECT layer, head, feature FROM rules ORDER BY ALL LIMIT 1")
    at = {"layer": layer, "head": head, "feature": feature}
    with pytest.raises(AttnRulesError, match="no list of so many rules"):
        answers(small, "where_rules_fail", n_rules=5, **at)


@pytest.mark.parametrize(
    ("question", "parameters", "says"),
    [
        ("feature_metrics", {"feature": 10**6}, "L0H0.1000000: L0H0 has no such feature"),
        ("head_profile", {"head": 77}, "L0H77: not in this warehouse, which holds L0H0"),
        ("head_profile", {"layer": 9}, "L9H0: not in this warehouse"),
        ("worst_reconstructed", {"layer": 9}, "layer 9: not in this warehouse"),
        ("typical_list", {"head": 77}, "head 77: not in this warehouse"),
        ("like_rules", {"other_head": 77}, "L0H77: not in this warehouse"),
        ("like_rules", {"method": "weigthed"}, "did you mean weighted?"),
        ("best_features", {"example_set": "papers"}, "did you mean paper?"),
        ("head_roles", {"role": "previous"}, "did you mean previous_token?"),
        ("absence_by_head", {"scaling": "models"}, "none of paper, model"),
        ("where_rules_fail", {"outcome": "misses"}, "did you mean miss?"),
        ("where_rules_fail", {"feature": 3}, "feature=3 needs layer too"),
        ("activation_parts", {"pos": 3}, "pos=3 needs seq_id too"),
        ("features_at_token", {"token": "no such"}, "the vocabulary has no such token"),
        ("attention_between", {"key_token": "no such"}, "key_token='no such'"),
        ("example_sources", {"seq_id": 10**8}, "holds sequences 0 to"),
        ("example_sources", {"pos": 10**6}, "holds positions 0 to"),
        ("why_attends", {"key_pos": 10**6}, "key_pos=1000000"),
        ("best_features", {"limit": -1}, "limit=-1 is below 0"),
        ("best_features", {"limit": 2.5}, "not a whole number"),
        ("best_features", {"limit": True}, "not a whole number"),
        ("best_features", {"min_f1": float("nan")}, "not a number"),
        ("features_at_token", {"token": 5}, "not a text"),
        ("head_profile", {"layer": None}, "not a whole number"),
    ],
)
def test_what_a_warehouse_does_not_hold_is_refused_not_answered_by_no_rows(
    small: Warehouse, question: str, parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        ask(small, question, parameters)
    assert says in str(refused.value)


def test_a_token_with_other_spaces_is_answered_with_the_one_there_is(
    small: Warehouse, words: dict[tuple[int, int], str]
) -> None:
    token = words[0, 3]
    with pytest.raises(UsageError) as refused:
        ask(small, "features_at_token", {"token": f"{token} "})
    assert str(refused.value).endswith(f"; there is {token!r}")


def test_null_is_all_as_none_is(small: Warehouse) -> None:
    assert answers(small, "typical_list", layer="null") == answers(small, "typical_list")
    features = answers(small, "best_features", limit=10**6)
    assert answers(small, "best_features", limit=None) == features
    assert answers(small, "best_features", limit="null") == features


def test_words_that_questions_list_are_those_that_are_stored() -> None:
    known = {"example_set": EXAMPLE_SETS, "scaling": SCALINGS}
    listed = [
        (name, meaning)
        for question in questions().values()
        for name, meaning in question.meanings.items()
        if name in known
    ]
    assert listed
    for name, meaning in listed:
        assert meaning.startswith("one of ")
        words = meaning.partition(";")[0].removeprefix("one of ").split(", ")
        assert sorted(words) == sorted(known[name])


def test_no_rows_are_explained_by_the_command_that_makes_them(
    small: Warehouse, small_ingested_once: Path
) -> None:
    with Warehouse.open(small_ingested_once) as ingested:
        empty = [q for q in questions().values() if not ask(ingested, q.name, {}).fetchall()]
        for question in empty:
            if question.needs is None:
                assert not ask(small, question.name, {}).fetchall(), question.name
            else:
                says = f"the table {question.needs} is empty; run `attnrules "
                assert says in why_empty(ingested, question)
        assert sum(question.needs is not None for question in empty) > 20
    best = questions()["best_features"]
    assert "nothing in the table rule_evaluations is as asked" in why_empty(small, best)
    assert why_empty(small, questions()["fires_at_text"]) == "no rows: nothing in this warehouse is as asked"


def test_a_stated_rule_comes_with_the_words_of_its_input_features(small: Warehouse) -> None:
    words = dict(small.rows("SELECT format('L{}.i{}', layer, feature), description FROM input_features"))
    found = answers(small, "stated_rules", min_matches=0, min_precision=0.5, limit=None)
    assert found
    seen = 0
    for row in found:
        assert row["precision"] >= 0.5
        named = sorted(set(re.findall(r"L\d+\.i\d+", row["statement"])), key=_numbers)
        expected = "; ".join(f"{name}: {words[name] or 'never fires'}" for name in named) or None
        assert row["input_features"] == expected
        seen += len(named)
    assert seen


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def test_rules_are_sought_by_the_tokens_of_a_key_not_by_its_shares(small: Warehouse) -> None:
    described = "FROM rule_texts WHERE contains(key_description, $text)"
    assert small.rows(described, {"text": "%"})
    assert answers(small, "rules_with_key", text="%") == []
    [(description,)] = small.rows(
        "SELECT key_description FROM rule_texts WHERE key_description LIKE '%''%' LIMIT 1"
    )
    token = description.split("'")[1]
    found = answers(small, "rules_with_key", text=f"'{token}'", limit=10**6)
    assert len(found) == len(small.rows(described, {"text": f"'{token}'"}))
