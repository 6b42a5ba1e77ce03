"""Stated rules: planted ones are found exactly, and what is stored is what a reader counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnrules as package
from attnrules import sql
from attnrules.commands.card import card_lines
from attnrules.errors import AttnRulesError, UsageError
from attnrules.queries.card import feature_card
from attnrules.queries.heads import FeatureId
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.queries.stated import parse, read_rule
from attnrules.warehouse import Warehouse
from tests import stated_ground_truth as truth
from tests.slow_stated import Text, texts

N_HELD_OUT = 60


def spec(method: str) -> SkipgramSpec:
    return SkipgramSpec(
        method=method, n_features=None, min_count=1, max_count=truth.N_SEQS, examples_per_split=1,
        example_sets=("all_positions",), held_out=N_HELD_OUT, max_rules=16,
    )  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted warehouse, mined by `stated` and by `weighted_gates`, whose rules have queries."""
    made = tmp_path_factory.mktemp("stated") / "w.duckdb"
    with truth.build(made) as warehouse:
        mine_skipgrams(warehouse, spec("stated"))
        mine_skipgrams(warehouse, spec("weighted_gates"))
    return made


@pytest.fixture(scope="module")
def planted(path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(path) as warehouse:
        yield warehouse


HEADS = pytest.mark.parametrize("head", range(len(truth.HEADS)), ids=[h.statement for h in truth.HEADS])


@HEADS
def test_a_planted_rule_is_found_first_and_alone(planted: Warehouse, head: int) -> None:
    [(first,), *others] = planted.rows(
        "SELECT statement FROM stated_rules WHERE head = $head ORDER BY rank", {"head": head}
    )
    reading = read_rule(planted, FeatureId(0, head, 0), parse(first)[0])
    assert (reading.precision, reading.recall) == (1.0, 1.0)
    assert others == []


@pytest.mark.parametrize(
    ("head", "near_miss"),
    [
        (0, "['w1'] at -2"),
        (1, "['w2'] at -2 and ['w3'] at 0"),
        (1, "['w2'] before and ['w3', 'w4'] at 0"),
        (2, "[same] at -4..-1"),
        (3, "['w4'] at copy"),
        (4, "['w5', 'w6'] at -1"),
        (5, "['w8'] at -1"),
        (5, "['w8'] at -1 and no ['w9'] at -1"),
    ],
)
def test_a_near_miss_is_told_from_it(planted: Warehouse, head: int, near_miss: str) -> None:
    reading = read_rule(planted, FeatureId(0, head, 0), parse(near_miss)[0])
    assert (reading.precision, reading.recall) != (1.0, 1.0)


@HEADS
def test_its_list_predicts_without_fault(planted: Warehouse, head: int) -> None:
    [found] = planted.rows(
        "SELECT DISTINCT n_rules_used, precision, recall, average_precision FROM rule_metrics"
        " WHERE method = 'stated' AND split = 'test' AND head = $head",
        {"head": head},
    )
    assert found == (1, 1.0, 1.0, 1.0)


def reader(warehouse: Warehouse) -> tuple[dict[int, Text], dict[str, set[tuple[int, int]]]]:
    """The sequences, and the positions that are judged."""
    sequences = texts(warehouse)
    split = {
        (seq, name)
        for name in ("train", "test")
        for (seq,) in warehouse.rows(
            "SELECT seq_id FROM tokens, (SELECT mix32(0) AS seed) WHERE pos = 0 AND sequence_split(0, seq_id) = $name"
            f" ORDER BY mix32(seed + seq_id), seq_id LIMIT {N_HELD_OUT}",
            {"name": name},
        )
    }
    return sequences, {
        name: {(seq, q) for seq, of in split if of == name for q in range(1, truth.SEQ_LEN)}
        for name in ("train", "test")
    }


def test_readings_of_every_method_are_what_a_reader_counts(planted: Warehouse) -> None:
    sequences, judged = reader(planted)
    statements: dict[tuple[Any, ...], str] = {
        ("stated", *row[:2]): row[2] for row in planted.rows("SELECT head, rank, statement FROM stated_rules")
    }
    for head, rank, keys, queries in planted.rows(
        "SELECT head, rank, list(DISTINCT key_feature), list(DISTINCT query_feature) FROM rules"
        " WHERE method = 'weighted_gates' GROUP BY ALL"
    ):
        sides = [f"[{', '.join(f'L0.i{i}' for i in keys)}] anywhere"]
        if queries := [j for j in queries if j is not None]:
            sides.append(f"[{', '.join(f'L0.i{j}' for j in queries)}] at 0")
        statements["weighted_gates", head, rank] = " and ".join(sides)
    stored = planted.rows(
        "SELECT method, head, rank, split, n_positions, n_active, n_matches, n_match_sequences, n_hits FROM rule_readings"
    )
    assert {row[:3] for row in stored} == statements.keys()
    active = set(planted.rows("SELECT head, seq_id, pos FROM output_activations"))
    for method, head, rank, split, *counts in stored:
        statement, _ = parse(statements[method, head, rank])
        holds = {(seq, q) for seq, q in judged[split] if sequences[seq].holds(statement, q)}
        hits = {place for place in holds if (head, *place) in active}
        n_active = sum((head, *place) in active for place in judged[split])
        assert counts == [len(judged[split]), n_active, len(holds), len({s for s, _ in holds}), len(hits)]


def test_some_rule_of_the_other_method_has_queries(planted: Warehouse) -> None:
    assert planted.value("SELECT count(*) FROM rules WHERE query_feature IS NOT NULL")


def test_the_atoms_say_what_the_statement_says(planted: Warehouse) -> None:
    stated = planted.rows("SELECT head, rank, statement FROM stated_rules")
    for head, rank, statement in stated:
        of_rule = planted.rows(
            "SELECT count(DISTINCT atom), count(*) FROM stated_atoms WHERE head = $head AND rank = $rank",
            {"head": head, "rank": rank},
        )
        atoms = parse(statement)[0].atoms
        assert of_rule == [(len(atoms), sum(len(getattr(atom, "members", [0])) for atom in atoms))]


def test_mining_again_gives_the_same_rules(path: Path, tmp_path: Path) -> None:
    with Warehouse.open(path) as warehouse:
        before = warehouse.rows("SELECT * EXCLUDE (run_id) FROM stated_rules ORDER BY ALL")
    with truth.build(tmp_path / "again.duckdb") as warehouse:
        mine_skipgrams(warehouse, spec("stated"))
        mine_skipgrams(warehouse, spec("stated"))
        assert warehouse.rows("SELECT * EXCLUDE (run_id) FROM stated_rules ORDER BY ALL") == before


def test_the_card_shows_stated_rules_first(
    planted: Warehouse, path: Path, attnrules: Callable[..., Any]
) -> None:
    card = feature_card(planted, FeatureId(0, 4, 0))
    [rule] = card.stated
    assert (rule["precision"], rule["recall"]) == (1.0, 1.0)
    told = attnrules("show", path, "L0H4.0", "--all-methods").out
    assert told.index(rule["statement"]) < told.index("weighted_gates rules")
    assert f"precision 1.00 [{rule['precision_low']:.2f}, 1.00], recall 1.00" in told
    assert "as read, right at" in told


def test_a_short_card_says_the_same_without_what_it_does_not_print(planted: Warehouse, path: Path) -> None:
    full, short = (feature_card(planted, FeatureId(0, 4, 0), every_list=every) for every in (True, False))
    assert full.minimal
    assert (short.minimal, short.tokens) == ([], [])
    assert card_lines(short, path) == card_lines(full, path)


def tokens(*numbers: int) -> list[str]:
    return [f"w{number}" for number in numbers]


def test_predictions_from_python_are_what_a_reader_finds(path: Path) -> None:
    rng = np.random.default_rng(5)
    given = [rng.integers(0, truth.N_WORDS, n).tolist() for n in (1, 9, 14)]
    with package.open(path) as warehouse:
        found = warehouse.predict(given)
        by_text = warehouse.predict([tokens(*text) for text in given])
        stated = warehouse.rows("SELECT head, statement FROM stated_rules WHERE statement LIKE '%same%'")
    assert found.equals(by_text)
    expected = set()
    for head, statement in stated:
        for number, words in enumerate(given):
            text = Text([(truth.BOS, "<bos>"), *((word, f"w{word}") for word in words)])
            expected |= {
                (number, q, f"w{words[q - 1]}", f"L0H{head}.0")
                for q in range(1, len(words) + 1)
                if text.holds(parse(statement)[0], q)
            }
    assert expected
    assert set(found.select("text", "pos", "token", "feature").iter_rows()) == expected
    assert set(found["rules"].to_list()[0]) == {1}
    assert (found["probability"] > 0.5).all()


def test_a_feature_that_is_named_twice_is_predicted_once(path: Path) -> None:
    with package.open(path) as warehouse:
        once, twice = (warehouse.predict([[1, 1]], features=names) for names in (["L0H2.0"], ["L0H2.0"] * 2))
    assert twice.equals(once)
    assert once.height


def test_rules_that_name_input_features_are_counted_as_left_out(path: Path) -> None:
    with package.open(path) as warehouse:
        found = warehouse.predict([[1, 1]], features=["L0H0.0", "L0H2.0"])
    assert found.select("feature", "n_left_out").rows() == [("L0H2.0", 0)]


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ([["nowhere"]], {}, "0 tokens of the vocabulary"),
        ([[99]], {}, "the vocabulary has tokens 0 to 12"),
        (["w1 w2"], {}, "holds no tokenizer"),
        ([[1]], {"features": ["L0H0.7"]}, "has no stated rules"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(
    path: Path, given: Any, options: dict[str, Any], words: str
) -> None:
    with package.open(path) as warehouse, pytest.raises((AttnRulesError, UsageError), match=words):
        warehouse.predict(given, **options)


def test_a_text_is_predicted_through_a_tokenizer(path: Path) -> None:
    with package.open(path) as warehouse:
        found = warehouse.predict(["1 1"], tokenize=lambda text: [int(word) for word in text.split()])
        assert found.equals(warehouse.predict([[1, 1]]))


def test_a_rule_without_atoms_is_found_by_the_check(planted: Warehouse) -> None:
    query = sql.checks()["stated_rules"]
    assert planted.rows(query) == []
    with planted.session():
        planted.execute(
            "CREATE TEMP TABLE stated_atoms AS FROM main.stated_atoms WHERE NOT (head = 2 AND rank = 1)"
        )
        told = planted.rows(query)
        planted.execute("DROP TABLE stated_atoms")
    assert told == [("L0H2.0 stated rule 1 is in one of stated_rules and stated_atoms alone",)]
