"""Absence and counting rules tested on the planted model: found, confirmed, and nothing else."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import attnrules as package
from attnrules.commands.wording import EVIDENCE, counting_words
from attnrules.errors import UsageError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.intervene import Laboratory, LaboratorySpec
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.pages.site import environment, feature_page
from attnrules.queries.absence import AbsenceSpec, mine_absence
from attnrules.queries.counting import (
    CountingSpec,
    PositionRule,
    beats,
    candidate_rules,
    choose,
    choose_position,
    information,
    mine_counting,
)
from attnrules.queries.heads import FeatureId, parse_feature
from attnrules.queries.interventions import InterveneSpec, intervene
from attnrules.queries.interventions.trials import (
    TokenStatistics,
    false_discovery_rates,
    insert,
    permutation_p,
)
from attnrules.queries.pages import head_pages
from attnrules.queries.stated import Narrowing, parse, read_confirmed
from attnrules.sql import Statements
from attnrules.warehouse import Warehouse, check
from tests import slow, tiny
from tests.planted import PlantedModel
from tests.slow_stated import texts
from tests.tiny import Tiny


def put_to_test(path: Path, **options: Any) -> None:
    with Warehouse.open(path, writable=True) as warehouse:
        laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
        intervene(warehouse, InterveneSpec(**options), laboratory)


@pytest.fixture(scope="module")
def tested_once(ingested_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted warehouse with everything mined and tested. Not to be written to."""
    path = Path(shutil.copy(ingested_once, tmp_path_factory.mktemp("tested") / "planted.duckdb"))
    with Warehouse.open(path, writable=True) as warehouse:
        mine_absence(warehouse, AbsenceSpec())
        mine_counting(warehouse, CountingSpec())
    put_to_test(path)
    return path


@pytest.fixture
def tested(tested_once: Path, tmp_path: Path) -> Path:
    """A private copy of it."""
    return Path(shutil.copy(tested_once, tmp_path / "planted.duckdb"))


def confirmed_absences(path: Path) -> set[tuple[Any, ...]]:
    with Warehouse.open(path) as warehouse:
        return set(
            warehouse.rows(
                "SELECT layer, head, feature, key_feature, distractor_feature, query_feature"
                " FROM absence_tests INNER JOIN distractors USING (layer, head, feature, scaling, pair)"
                " WHERE confirmed"
            )
        )


# --- the planted truth -----------------------------------------------------------------------------


def test_planted_absence_rules_are_confirmed_and_nothing_else(
    tested_once: Path, planted: PlantedModel
) -> None:
    found = confirmed_absences(tested_once)
    truth = {
        (*at, rule.key_feature, rule.distractor_feature, rule.query_feature)
        for at, rule in planted.absence_rules.items()
    }
    # An opponent that is counted suppresses too, and nothing else does.
    counted = {
        (*at, rule.key_feature, rule.opponent_feature, rule.query_feature)
        for at, rule in planted.counting_rules.items()
    }
    assert truth <= found <= truth | counted


def test_what_the_query_never_attends_to_is_not_confirmed_even_when_tested(
    tested: Path, planted: PlantedModel
) -> None:
    names = ("lamp, whatever rings", "bell rings")
    features = [planted.output_features[0, 1, name] for name in names]
    with Warehouse.open(tested, writable=True) as warehouse:
        assert warehouse.rows(
            "SELECT distractor_feature FROM distractors WHERE layer = 0 AND head = 1 AND feature = $f",
            {"f": features[0]},
        ) == [(planted.input_features[0, "bell"],)]
        warehouse.execute(
            "UPDATE distractors SET has_distractor_key = TRUE WHERE layer = 0 AND head = 1"
            " AND feature IN ($a, $b)",
            {"a": features[0], "b": features[1]},
        )
    put_to_test(tested, layers=(0,), heads=(1,))
    with Warehouse.open(tested) as warehouse:
        rows = warehouse.rows(
            "SELECT status, confirmed FROM absence_tests WHERE layer = 0 AND head = 1 AND feature IN ($a, $b)",
            {"a": features[0], "b": features[1]},
        )
    assert rows == [("tested", False)] * 2


def test_replacing_a_real_distractor_brings_the_activation_back(
    tested_once: Path, planted: PlantedModel
) -> None:
    with Warehouse.open(tested_once) as warehouse:
        for layer, head, feature in planted.absence_rules:
            row = warehouse.rows(
                "SELECT n_replaced, excess_rise_low, control_rise, rise, distractor_activations[1]"
                " FROM absence_tests WHERE layer = $l AND head = $h AND feature = $f",
                {"l": layer, "h": head, "f": feature},
            )
            n, low, control, rise, usual = row[0]
            assert n >= 5
            assert low == pytest.approx(usual, rel=1e-3)
            assert control == 0
            assert rise == pytest.approx(usual, rel=1e-3)


@pytest.mark.parametrize("seed", [3, 6, 7])
def test_a_replacement_leaves_key_and_query_where_they_are(tmp_path: Path, seed: int) -> None:
    """In tiny warehouses, where the distractor is often the query itself: then its own position stays."""
    of_examples = Statements("attnrules.queries", "interventions")
    with tiny.build(tmp_path / "w.duckdb", Tiny(seed, 20, 5, steep=False, sparse=False)) as warehouse:
        mine_absence(warehouse, AbsenceSpec(pairs=5, layers=(0,), heads=(0,)))
        active = defaultdict(set)
        for feature, seq, pos in warehouse.rows(
            "SELECT feature, seq_id, pos FROM input_activations WHERE layer = 0"
        ):
            active[feature, seq].add(pos)
        features = [row[0] for row in warehouse.rows("SELECT DISTINCT feature FROM distractors")]
        chosen = {"layer": 0, "head": 0, "scaling": "paper", "features": features}
        drawn = {"seq_len": 5, "copies": 1, "n_examples": 100, "seed": 1}
        with warehouse.transaction():
            warehouse.execute(of_examples("make_test_examples"), {**chosen, **drawn})
            examples = warehouse.rows(of_examples("test_examples"), {"layer": 0})
        involved = {
            row[:2]: row[2:]
            for row in warehouse.rows(
                "SELECT feature, pair, key_feature, query_feature, distractor_feature FROM distractors"
                " WHERE layer = 0 AND head = 0 AND has_distractor_key"
            )
        }
    for feature, pair, _, seq, key_pos, query_pos, distractors, others in examples:
        key, query, distractor = involved[feature, pair]
        up_to = set(range(query_pos + 1))
        stays = (active[key, seq] | (active[query, seq] if query != distractor else {query_pos})) & up_to
        assert set(others) == stays >= {key_pos, query_pos}
        assert set(distractors or ()) == active[distractor, seq] & up_to
    assert any(query == distractor for _, query, distractor in (involved[row[:2]] for row in examples))


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_a_query_at_bos_is_not_tested_nor_one_that_copies_push_off(tmp_path: Path, copies: int) -> None:
    """What is put right after BOS comes after it, and stands where such a query would be looked for."""
    of_examples = Statements("attnrules.queries", "interventions")
    with tiny.build(tmp_path / "w.duckdb", Tiny(3, 20, 5, steep=False, sparse=False)) as warehouse:
        mine_absence(warehouse, AbsenceSpec(pairs=5, layers=(0,), heads=(0,), bos_keys=True))
        warehouse.execute("UPDATE distractor_examples SET activation = 1")
        chosen = {"layer": 0, "head": 0, "scaling": "paper", "features": list(range(tiny.N_OUTPUTS))}
        drawn = {"seq_len": 5, "copies": copies, "n_examples": 100, "seed": 1}
        with warehouse.transaction():
            warehouse.execute(of_examples("make_test_examples"), {**chosen, **drawn})
            found = warehouse.rows("SELECT feature, pair, kind, seq_id, query_pos FROM test_examples")
        mined = warehouse.rows(
            "SELECT feature, pair, kind, seq_id, query_pos FROM distractor_examples"
            " INNER JOIN distractors USING (layer, head, feature, scaling, pair) WHERE has_distractor_key"
        )
    assert any(q == 0 for *_, q in mined)
    assert set(found) == {
        row for row in mined if row[-1] > 0 and (row[2] == "has_distractor" or row[-1] + copies < 5)
    }


@pytest.mark.parametrize("bos_keys", [False, True])
@pytest.mark.parametrize("opponent", [None, 4])
def test_a_grid_begins_where_neither_key_nor_opponent_is(
    tmp_path: Path, bos_keys: bool, opponent: int | None
) -> None:
    """At BOS too, where the rule counts what stands there."""
    key, query = 3, 5
    with tiny.build(tmp_path / "w.duckdb", Tiny(0, 20, 5, steep=False, sparse=False)) as warehouse:
        with warehouse.run("mine counting", {"bos_keys": bos_keys}) as run_id, warehouse.transaction():
            columns = warehouse.rows(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'counting_rules'"
                " AND NOT is_nullable"
            )
            row = {name: "" if kind == "VARCHAR" else 0 for name, kind in columns}
            row |= {"scaling": "paper", "key_feature": key, "query_feature": query, "run_id": run_id}
            warehouse.append("counting_rules", pa.Table.from_pylist([{**row, "opponent_feature": opponent}]))
        chosen = {"layer": 0, "head": 0, "scaling": "paper", "features": [0]}
        drawn = {"seq_len": 5, "room": 1, "n_examples": 100, "seed": 1}
        step = Statements("attnrules.queries", "interventions")("grid_examples")
        found = [row[2:] for row in warehouse.rows(step, {**chosen, **drawn})]
        active = defaultdict(set)
        for seq, feature, pos in warehouse.rows(
            "SELECT seq_id, feature, pos FROM input_activations WHERE layer = 0"
        ):
            active[seq, feature].add(pos)
    expected = []
    for seq in range(20):
        places = sorted(active[seq, query] - {0})
        counted = active[seq, key] | active[seq, opponent]
        first = 0 if bos_keys else 1
        if places and places[0] < 4 and not counted & set(range(first, places[0] + 1)):
            expected.append((seq, places[0]))
    assert found == expected
    assert expected


@pytest.fixture(scope="module")
def counted_once(
    planted: PlantedModel, planted_spec: IngestSpec, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The planted model on a corpus about counting, mined and tested. Not to be written to."""
    folder = tmp_path_factory.mktemp("counted")
    rng = random.Random(0)
    with (folder / "corpus.jsonl").open("w") as file:
        for _ in range(400):
            words = rng.choices(
                ["yes", "no", "never", "decides", "knock", "answers", "the", "of"],
                weights=[1, 2, 1, 2, 1, 2, 2, 2],
                k=40,
            )
            file.write(json.dumps({"text": " ".join(words)}) + "\n")
    path = folder / "counted.duckdb"
    corpus = CorpusSpec(str(folder / "corpus.jsonl"), seq_len=planted.seq_len)
    ingest(path, replace(planted_spec, corpus=corpus, layers=(0,)))
    with Warehouse.open(path, writable=True) as warehouse:
        mine_counting(warehouse, CountingSpec())
    put_to_test(path)
    return path


def test_planted_counting_rules_are_found_and_confirmed_and_nothing_else(
    counted_once: Path, planted: PlantedModel
) -> None:
    with Warehouse.open(counted_once) as warehouse:
        found = {
            row[:3]: row[3:]
            for row in warehouse.rows(
                "SELECT layer, head, feature, key_feature, opponent_feature, query_feature, key_weight,"
                " opponent_weight, threshold, confirmed, f1, agreement"
                " FROM counting_rules INNER JOIN counting_tests USING (layer, head, feature, scaling, pair)"
            )
        }
    assert found == {
        at: (
            *(rule.key_feature, rule.opponent_feature, rule.query_feature),
            *(rule.key_weight, rule.opponent_weight, rule.threshold),
            *(True, 1.0, 1.0),
        )
        for at, rule in planted.counting_rules.items()
    }


@pytest.mark.parametrize(
    ("threshold", "status"), [(4, "tested"), (5, "beyond the grid")], ids=["wrong", "beyond"]
)
def test_a_wrong_count_is_not_confirmed_for_predicting_silence(
    tested: Path, planted: PlantedModel, threshold: int, status: str
) -> None:
    feature = planted.output_features[0, 2, "two knocks"]
    at = {"feature": feature}
    where = " WHERE layer = 0 AND head = 2 AND feature = $feature"
    with Warehouse.open(tested, writable=True) as warehouse:
        # The query's rule for a feature that no insertion of its key fires.
        warehouse.execute(
            f"UPDATE counting_rules SET threshold = $threshold, key_feature = $key {where}",
            {**at, "threshold": threshold, "key": planted.input_features[0, "bell"]},
        )
    put_to_test(tested, layers=(0,), heads=(2,))
    with Warehouse.open(tested) as warehouse:
        rows = warehouse.rows(f"SELECT status, confirmed FROM counting_tests {where}", at)
    assert rows == [(status, False)]


def test_no_skipgram_or_absence_rule_is_mistaken_for_counting(
    tested_once: Path, planted: PlantedModel
) -> None:
    with Warehouse.open(tested_once) as warehouse:
        found = set(warehouse.rows("SELECT layer, head, feature FROM counting_rules"))
    assert found
    assert found <= set(planted.counting_rules)


# --- every forward pass ----------------------------------------------------------------------------


def passes(warehouse: Warehouse) -> Iterator[tuple[Any, list[int], int]]:
    """The rows of insertions and grids, with the tokens and query position that each must have had."""
    sequences = defaultdict(list)
    for seq, token in warehouse.rows("SELECT seq_id, token_id FROM tokens ORDER BY seq_id, pos"):
        sequences[seq].append(token)
    key_token = {
        row[:3]: row[3]
        for row in warehouse.rows("SELECT layer, head, feature, key_token_id FROM counting_tests")
    }
    for row in warehouse.rows(
        "SELECT layer, head, feature, experiment, seq_id, query_pos, n_key, n_changed, token_id, activation"
        " FROM interventions WHERE experiment <> 'replacement'"
    ):
        tokens = sequences[row[4]]
        inserted = [key_token.get(row[:3])] * row[6] + [row[8]] * row[7]
        yield row, [tokens[0], *inserted, *tokens[1:]][: len(tokens)], row[5] + row[6] + row[7]


@pytest.mark.parametrize("fixture", ["tested_once", "counted_once"])
def test_every_pass_has_the_activation_that_the_planted_rules_demand(
    fixture: str, planted: PlantedModel, request: pytest.FixtureRequest
) -> None:
    experiments = set()
    with Warehouse.open(request.getfixturevalue(fixture)) as warehouse:
        for row, tokens, q in passes(warehouse):
            experiments.add(row[3])
            assert (row[9] > 0) == planted.is_active(*row[:3], tokens, q), row
    assert experiments


def test_passes_on_unchanged_sequences_are_what_was_ingested(tested_once: Path) -> None:
    with Warehouse.open(tested_once) as warehouse:
        rows = warehouse.rows(
            "SELECT i.activation, y.activation, i.attention_to_key, s.weight"
            " FROM interventions AS i"
            " LEFT JOIN output_activations AS y ON i.layer = y.layer AND i.head = y.head"
            " AND i.feature = y.feature AND i.seq_id = y.seq_id AND i.query_pos = y.pos"
            " INNER JOIN attention_sources AS s ON i.layer = s.layer AND i.head = s.head"
            " AND i.seq_id = s.seq_id AND i.query_pos = s.query_pos AND i.key_pos = s.key_pos"
            " WHERE i.arm = 'none'"
        )
    assert rows
    for measured, ingested, attention, weight in rows:
        assert measured == pytest.approx(ingested or 0, rel=1e-5, abs=1e-4)
        assert attention == pytest.approx(weight, rel=1e-5)


def test_control_tokens_never_excite_key_distractor_or_query(tested_once: Path) -> None:
    with Warehouse.open(tested_once) as warehouse:
        fired = warehouse.value(
            "SELECT count(*) FROM (SELECT *, unnest(control_token_ids) AS token_id FROM absence_tests) AS a"
            " INNER JOIN distractors AS d USING (layer, head, feature, scaling, pair)"
            " INNER JOIN tokens AS t USING (token_id)"
            " INNER JOIN input_activations AS i ON t.seq_id = i.seq_id AND t.pos = i.pos AND a.layer = i.layer"
            " AND i.feature IN (d.key_feature, d.distractor_feature, d.query_feature)"
        )
        n = warehouse.value("SELECT count(*) FROM absence_tests WHERE len(control_token_ids) = 9")
    assert fired == 0
    assert n >= 2


def test_a_tested_warehouse_is_sound(tested_once: Path) -> None:
    with Warehouse.open(tested_once) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []


@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO distractors FROM distractors LIMIT 1",
        "UPDATE distractors SET has_distractor_key = NOT has_distractor_key",
        "DELETE FROM distractors WHERE has_distractor_key",
        "UPDATE distractor_examples SET key_pos = query_pos + 1",
        "DELETE FROM counting_rules",
    ],
)
def test_check_finds_damage(attnrules: Any, tested: Path, damage: str) -> None:
    with Warehouse.open(tested, writable=True) as warehouse:
        warehouse.execute(damage)
    outcome = attnrules("check", tested)
    assert outcome.code == 1
    assert "absence_consistent" in outcome.out + outcome.err


def everything(path: Path) -> list[Any]:
    with Warehouse.open(path) as warehouse:
        return [
            sorted(warehouse.rows(f"SELECT * EXCLUDE (run_id) FROM {table}"), key=repr)
            for table in ("interventions", "absence_tests", "counting_tests")
        ]


def test_more_copies_than_fit_are_refused(tested: Path) -> None:
    with Warehouse.open(tested) as warehouse:
        seq_len = warehouse.value("SELECT seq_len FROM corpus")
    with pytest.raises(UsageError, match=f"--copies {seq_len - 1}: .* room for {seq_len - 2} before a query"):
        put_to_test(tested, copies=seq_len - 1)


def test_testing_again_replaces(tested: Path) -> None:
    before = everything(tested)
    put_to_test(tested, layers=(0,), heads=(1,))
    assert everything(tested) == before


def test_mining_absence_again_forgets_its_tests_but_not_those_of_counting(tested: Path) -> None:
    with Warehouse.open(tested, writable=True) as warehouse:
        mine_absence(warehouse, AbsenceSpec())
        assert warehouse.value("SELECT count(*) FROM absence_tests") == 0
        assert warehouse.rows("SELECT DISTINCT experiment FROM interventions") == [("counting",)]


def test_a_failed_test_leaves_everything_as_it_was(tested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import attnrules.queries.interventions.running as module

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    before = everything(tested)
    monkeypatch.setattr(module, "run_grid", fail)
    with pytest.raises(KeyboardInterrupt):
        put_to_test(tested, seed=5)
    assert everything(tested) == before


# --- bad input -------------------------------------------------------------------------------------


def altered(folder: Path, weights: str, copy: Path) -> Path:
    """A copy of a folder with every weight of one file a little larger."""
    shutil.copytree(folder, copy)
    tensors = load_file(copy / weights)
    save_file({k: v * 1.01 for k, v in tensors.items()}, copy / weights, metadata={"format": "pt"})
    return copy


def test_another_model_is_refused_with_the_difference_named(
    attnrules: Any, tested: Path, planted: PlantedModel, tmp_path: Path
) -> None:
    before = everything(tested)
    model = altered(planted.model_dir, "model.safetensors", tmp_path / "other")
    outcome = attnrules("intervene", tested, "--model", model)
    assert outcome.code == 1
    assert "--model other: has weights " in outcome.err
    assert "was ingested from model with " in outcome.err
    assert "Traceback" not in outcome.err
    assert everything(tested) == before


def test_a_model_of_another_shape_is_refused_with_the_difference_named(
    attnrules: Any, tested: Path, planted: PlantedModel, tmp_path: Path
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "shallow"
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(planted.vocabulary), n_positions=80, n_embd=8, n_layer=1, n_head=2)
    ).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(planted.model_dir / name, folder / name)
    outcome = attnrules("intervene", tested, "--model", folder)
    assert outcome.code == 1
    assert "--model shallow: has n layers 1, but " in outcome.err
    assert "from model with 2" in outcome.err


def test_another_sae_is_refused_and_nothing_is_lost(
    attnrules: Any, tested: Path, planted: PlantedModel, tmp_path: Path
) -> None:
    before = everything(tested)
    saes = tmp_path / "other"
    for folder in planted.input_sae_dir.iterdir():
        altered(folder, "sae_weights.safetensors", saes / folder.name)
    outcome = attnrules("intervene", tested, "--input-sae", saes)
    assert outcome.code == 1
    assert "input SAE of layer 0" in outcome.err
    assert "--input-sae" in outcome.err
    assert everything(tested) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("intervene", "{w}"), 1, "mine absence"),
        (("intervene", "{w}", "--probe", "--model", "nowhere/at/all"), 1, "model nowhere/at/all"),
        # Before the model is loaded, which takes longer than to say so.
        (("intervene", "{w}", "--model", "nowhere/at/all"), 1, "mine absence"),
        (("intervene", "{w}", "--stated", "--model", "nowhere/at/all"), 1, "holds no stated rules"),
        (("intervene", "{w}", "--outputs", "--heads", "7", "--model", "nowhere/at/all"), 2, "--heads 7"),
        (("intervene", "{w}", "--probe", "--heads", "7", "--model", "nowhere/at/all"), 2, "--heads 7"),
        (("intervene", "{w}", "--heads", "7"), 2, "--heads 7: not in this warehouse"),
        (("intervene", "{w}", "--batch-size", "0"), 2, "--batch-size"),
        (("mine", "absence", "{w}", "--layers", "5"), 2, "--layers 5: not in this warehouse"),
        (("mine", "absence", "{w}", "--features", "L0H0.99"), 2, "L0H0.99: L0H0 has features 0 to 23"),
        (("mine", "absence", "{w}", "--features", "0"), 2, "must be at least 1"),
        (("mine", "counting", "{w}", "--features", "L0H9.1"), 2, "L0H9: not in this warehouse"),
        (("mine", "counting", "{w}", "--min-support", "0"), 2, "--min-support"),
    ],
)
def test_bad_input_is_one_line(
    attnrules: Any, ingested: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    outcome = attnrules(*(argument.format(w=ingested) for argument in arguments))
    assert outcome.code == code
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_the_commands_do_it_all(attnrules: Any, ingested: Path) -> None:
    assert attnrules("mine", "absence", ingested, "--layers", "0", "--pairs", "2").code == 0
    assert attnrules("mine", "counting", ingested, "--heads", "2").code == 0
    options = ("--layers", "0", "--heads", "1,2", "--examples", "6", "--copies", "1", "--controls", "2")
    outcome = attnrules("intervene", ingested, *options, "--device", "cpu")
    assert outcome.code == 0
    assert outcome.out == ""
    assert "L0H2: 2 absence rules confirmed of 2 tested" in outcome.err
    assert "3 counting rules of 3 tested" in outcome.err


# --- what a user sees ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ((0, 1, "quiet night"), ["['night' 100%] … ['drum' 100%] … ['sleeps' 100%] ↛ ", "confirmed: "]),
        (
            (0, 2, "more yes than no"),
            [
                "at ['decides' 100%] fires when ['yes' 100%] occurs more often than ['n",
                "right on 100% of the grid",
            ],
        ),
        ((0, 2, "three knocks"), ["fires when ['knock' 100%] occurs at least 3 times"]),
    ],
)
def test_show_says_rules_in_words(
    attnrules: Any, tested_once: Path, planted: PlantedModel, name: tuple[int, int, str], expected: list[str]
) -> None:
    layer, head, _ = name
    feature = f"L{layer}H{head}.{planted.output_features[name]}"
    outcome = attnrules("show", tested_once, feature, "--all-methods")
    assert outcome.code == 0
    for words in expected:
        assert words in outcome.out


def test_show_tells_untested_rules_from_refuted_ones(
    attnrules: Any, tested: Path, planted: PlantedModel
) -> None:
    feature = f"L0H1.{planted.output_features[0, 1, 'quiet night']}"
    with Warehouse.open(tested, writable=True) as warehouse:
        warehouse.execute("DELETE FROM absence_tests")
    assert "not tested: run `attnrules intervene`" in attnrules("show", tested, feature).out.replace(
        "\n", " "
    )


@pytest.mark.parametrize(
    ("question", "n_confirmed"), [("absence_by_head", {1: 2, 2: 2}), ("counting_by_head", {2: 3})]
)
def test_prevalence_counts_what_is_confirmed(
    attnrules: Any, tested_once: Path, question: str, n_confirmed: dict[int, int]
) -> None:
    rows = json.loads(attnrules("query", tested_once, question, "--format", "json").out)
    found = {row["head"]: row["n_confirmed"] for row in rows if row["n_confirmed"]}
    assert found == n_confirmed


def test_the_strongest_confirmed_cases_are_listed(attnrules: Any, tested_once: Path) -> None:
    absences = json.loads(attnrules("query", tested_once, "confirmed_absences", "--format", "json").out)
    certain = [row["excess_low_share"] for row in absences]
    assert len(certain) == 4
    assert certain == sorted(certain, reverse=True)
    assert absences[0]["excess_share"] == 1
    assert all(0 < row["by_chance"] <= 0.2 for row in absences)
    counting = json.loads(attnrules("query", tested_once, "counting_rules", "--format", "json").out)
    assert [row["confirmed"] for row in counting] == [True] * 3


def test_confirmed_on_few_sequences_is_listed_only_when_asked_for(attnrules: Any, tested: Path) -> None:
    with Warehouse.open(tested, writable=True) as warehouse:
        warehouse.execute("UPDATE absence_tests SET n_examples = 9 WHERE confirmed AND head = 1")
    listed = [
        len(json.loads(attnrules("query", tested, "confirmed_absences", *more, "--format", "json").out))
        for more in ((), ("-p", "min_examples=9"))
    ]
    assert listed == [2, 4]


@pytest.mark.parametrize(
    ("matched", "interval", "mean", "evidence"),
    [
        ((9, 50), (-2.0, -1.0), 3.0, "too few"),
        ((50, 9), (-2.0, -1.0), 3.0, "too few"),
        ((None, None), (None, None), 3.0, "too few"),
        ((10, 10), (-2.0, -1.0), 3.0, "suppresses"),
        ((10, 10), (1.0, 2.0), 3.0, "raises"),
        ((10, 10), (1.0, 2.0), 0.0, "raises"),
        ((10, 10), (-1.0, 1.0), 3.0, "chance explains"),
        ((10, 10), (None, None), 3.0, "chance explains"),
        ((10, 10), (-1.0, 1.0), 0.0, "silent"),
        ((10, 10), (-0.002, -0.001), 0.002, "silent"),
    ],
)
def test_what_the_corpus_says_of_an_absence_rule(
    attnrules: Any,
    tested: Path,
    matched: tuple[int | None, int | None],
    interval: tuple[float | None, float | None],
    mean: float,
    evidence: str,
) -> None:
    with Warehouse.open(tested, writable=True) as warehouse:
        warehouse.execute(
            "UPDATE distractors SET matched_kq = $kq, matched_kkq = $kkq, matched_low = $low,"
            " matched_high = $high, kq_mean_activation = $mean, matched_difference = ($low + $high) / 2",
            dict(zip(("kq", "kkq", "low", "high", "mean"), (*matched, *interval, mean), strict=True)),
        )
        warehouse.execute("UPDATE output_features SET mean_activation = 1")
        found = warehouse.rows("SELECT DISTINCT corpus_evidence FROM absence_summary")
        [(layer, head, feature)] = warehouse.rows(
            "SELECT layer, head, feature FROM absence_summary WHERE confirmed ORDER BY ALL LIMIT 1"
        )
    assert found == [(evidence,)]
    card = attnrules("show", tested, f"L{layer}H{head}.{feature}", "--all-methods").out
    assert "confirmed on the model" in card
    assert f"corpus, {EVIDENCE[evidence]}: " in card


# --- as stated rules ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrowings(tested_once: Path) -> dict[str, Narrowing]:
    with Warehouse.open(tested_once) as warehouse:
        return {f"{one.kind} {one.feature}": one for one in read_confirmed(warehouse)}


def test_confirmed_rules_make_a_rule_right_wherever_it_holds(
    narrowings: dict[str, Narrowing], planted: PlantedModel
) -> None:
    planted_absences = {f"absence {FeatureId(*at)}" for at in planted.absence_rules}
    counts_keys = {
        f"counting {FeatureId(*at)}"
        for at, rule in planted.counting_rules.items()
        if rule.opponent_feature is None
    }
    # Those with an opponent suppress it as well, and cannot be said as counts.
    assert planted_absences | counts_keys <= narrowings.keys()
    assert {name for name in narrowings if name.startswith("counting")} == counts_keys
    for name in planted_absences | counts_keys:
        one = narrowings[name]
        assert one.precision == 1.0
        assert one.kept == (one.gain_interval is not None and one.gain_interval[0] > 0)
    assert sum(one.kept for one in narrowings.values()) >= len(planted_absences | counts_keys) - 1


def test_a_condition_is_judged_as_a_reader_counts(
    narrowings: dict[str, Narrowing], tested_once: Path
) -> None:
    with Warehouse.open(tested_once) as warehouse:
        sequences = texts(warehouse)
        judged = [
            (seq, q)
            for (seq,) in warehouse.rows(
                "SELECT seq_id FROM tokens WHERE pos = 0 AND sequence_split(0, seq_id) = 'test'"
            )
            for q in range(1, len(sequences[seq].tokens))
        ]
        rows = warehouse.rows("SELECT layer, head, feature, seq_id, pos FROM output_activations")
    active = {(str(FeatureId(*row[:3])), *row[3:]) for row in rows}
    # The threshold of a counting rule was chosen on the half of all sequences that the seed of its mining, 0,
    # and a salt of 2 say.
    unseen = {seq for seq in sequences if slow.mix32(slow.mix32(2) + seq) % 2}
    for one in narrowings.values():
        counts = []
        places = [place for place in judged if one.kind == "absence" or place[0] in unseen]
        assert (len(places) < len(judged)) == (one.kind == "counting")
        for text in (one.statement, one.without):
            statement, _ = parse(text)
            holds = [(seq, q) for seq, q in places if sequences[seq].holds(statement, q)]
            counts += [len(holds), sum((one.feature, *place) in active for place in holds)]
        assert counts == [one.n_matches, one.n_hits, one.n_matches_without, one.n_hits_without]
        assert one.gain == pytest.approx(counts[1] / counts[0] - counts[3] / counts[2])


def test_a_condition_that_never_changes_a_rule_is_not_kept(tested: Path) -> None:
    with Warehouse.open(tested, writable=True) as warehouse:
        # The key itself can never be absent where it is asked for.
        warehouse.execute("UPDATE distractors SET distractor_feature = key_feature")
        found = [one for one in read_confirmed(warehouse) if one.kind == "absence"]
    assert found
    assert {(one.n_matches, one.gain, one.kept) for one in found} == {(0, None, False)}


@pytest.mark.parametrize("bos_keys", [False, True])
def test_a_rule_that_looks_at_bos_is_not_said_in_the_language(tested: Path, bos_keys: bool) -> None:
    with Warehouse.open(tested, writable=True) as warehouse:
        before = read_confirmed(warehouse)
        [(layer, key)] = warehouse.rows(
            "SELECT layer, key_feature FROM absence_summary WHERE confirmed ORDER BY ALL LIMIT 1"
        )
        warehouse.execute("DELETE FROM input_activations WHERE pos = 0")
        warehouse.execute(
            "INSERT INTO input_activations BY NAME SELECT $layer AS layer, 0 AS seq_id, 0 AS pos,"
            " $key AS feature, 1 AS activation",
            {"layer": layer, "key": key},
        )
        warehouse.execute(
            "UPDATE runs SET arguments = json_merge_patch(arguments, $changed::JSON)",
            {"changed": json.dumps({"bos_keys": bos_keys})},
        )
        after = read_confirmed(warehouse)
    left_out = [one for one in before if one not in after]
    assert [one for one in before if one in after] == after
    assert left_out == [one for one in before if bos_keys and f"[L{layer}.i{key}]" in one.statement]
    assert bool(left_out) == bos_keys


def test_a_counting_rule_that_leaves_its_opponent_out_of_account_is_said(tested: Path) -> None:
    with Warehouse.open(tested, writable=True) as warehouse:
        before = {one.feature for one in read_confirmed(warehouse) if one.kind == "counting"}
        chosen = "WHERE opponent_weight > 0 AND confirmed"
        [(*at, key, query)] = warehouse.rows(
            f"SELECT layer, head, feature, key_feature, query_feature FROM counting_summary {chosen} LIMIT 1"
        )
        warehouse.execute(
            "UPDATE counting_rules SET opponent_weight = 0, key_weight = 1, threshold = 3"
            " WHERE layer = $1 AND head = $2 AND feature = $3",
            dict(zip("123", at, strict=True)),
        )
        said = {one.feature: one for one in read_confirmed(warehouse) if one.kind == "counting"}
    added = str(FeatureId(*at))
    assert added not in before
    inputs = [f"[L{at[0]}.i{feature}]" for feature in (key, query)]
    assert said[added].statement == f"{inputs[1]} at 0 and at least 3 of {inputs[0]} anywhere"
    assert said[added].without == f"{inputs[1]} at 0 and {inputs[0]} anywhere"


def test_a_distractor_that_is_the_query_is_looked_for_before(tested: Path) -> None:
    with Warehouse.open(tested, writable=True) as warehouse:
        warehouse.execute("UPDATE distractors SET distractor_feature = query_feature")
        found = [one for one in read_confirmed(warehouse) if one.kind == "absence"]
    assert found
    for one in found:
        _, query, denied = one.statement.split(" and ")
        assert denied == f"no {query.removesuffix(' at 0')} before"


def test_confirmed_rules_are_told_with_what_they_add(
    attnrules: Any, tested_once: Path, narrowings: dict[str, Narrowing]
) -> None:
    one = next(one for one in narrowings.values() if one.kept)
    told = attnrules("test", tested_once, "--confirmed").out
    assert f"{one.statement} → {one.feature}\n" in told
    assert f"{one.n_hits} of {one.n_matches} positions" in told
    asked = json.loads(attnrules("test", tested_once, "--confirmed", "--json").out)
    assert [(row["feature"], row["statement"]) for row in asked] == [
        (one.feature, one.statement) for one in narrowings.values()
    ]
    assert "as a rule, " in attnrules("show", tested_once, one.feature).out
    with package.open(tested_once) as warehouse:
        [row] = warehouse.test_confirmed(one.feature).filter(pl.col("kind") == one.kind).to_dicts()
    assert (row["statement"], row["gain"], tuple(row["gain_interval"])) == (
        *(one.statement, one.gain),
        one.gain_interval,
    )


@pytest.mark.parametrize("kind", ["absence", "counting"])
def test_pages_say_what_a_confirmed_rule_adds(
    tested_once: Path, narrowings: dict[str, Narrowing], kind: str
) -> None:
    one = next(one for one in narrowings.values() if one.kept and one.kind == kind)
    feature = parse_feature(one.feature)
    with Warehouse.open(tested_once) as warehouse:
        found = head_pages(warehouse, feature.layer, feature.head, [feature.feature])
    row = next(of for of in found.features if of["feature"] == feature.feature)
    page = feature_page(environment(), found, row)
    assert f"<code>{one.statement}</code>" in page
    assert f"({one.n_hits_without} of {one.n_matches_without})" in page


def test_without_a_confirmed_rule_the_next_step_is_named(attnrules: Any, small_once: Path) -> None:
    assert "`attnrules intervene` tests them" in attnrules("test", small_once, "--confirmed").out
    assert json.loads(attnrules("test", small_once, "--confirmed", "--json").out) == []


@pytest.mark.parametrize("more", [[], ["[same] before -> L0H0.0", "--confirmed"]], ids=["neither", "both"])
def test_a_rule_or_the_confirmed_ones_are_judged(attnrules: Any, small_once: Path, more: list[str]) -> None:
    outcome = attnrules("test", small_once, *more)
    assert (outcome.code, outcome.out) == (2, "")
    assert "name one RULE, or --confirmed" in outcome.err


@given(
    tested=st.lists(st.integers(-3, 3), min_size=1, max_size=3),
    others=st.lists(st.integers(-3, 3), min_size=1, max_size=5),
)
def test_the_p_value_counts_the_ways_to_choose_tokens(tested: list[int], others: list[int]) -> None:
    """Whole numbers, so that sums tie exactly."""
    effects = [*tested, *others]
    ways = [
        sum(effects[place] for place in chosen) for chosen in combinations(range(len(effects)), len(tested))
    ]
    expected = sum(way >= sum(tested) for way in ways) / len(ways)
    assert permutation_p(np.array(tested) / 7, np.array(others) / 7) == pytest.approx(expected)


def test_of_too_many_ways_some_are_drawn() -> None:
    many = np.zeros(40)
    assert permutation_p(many[:10] + 1, many) == pytest.approx(1 / 20_001)
    assert permutation_p(many[:10], many) == 1


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_a_false_discovery_rate_is_the_least_at_which_a_test_is_found(numbers: list[int]) -> None:
    p_values = np.array(numbers) / 40
    for p, rate in zip(p_values, false_discovery_rates(p_values), strict=True):
        # Found at a rate: some limit from p on is passed by so many that no more of them are false than that.
        limits = [limit for limit in p_values if limit >= p]
        assert rate == pytest.approx(
            min(1, *(limit * len(p_values) / (p_values <= limit).sum() for limit in limits), 1)
        )


def test_a_confirmed_pair_is_found_at_a_rate_of_a_fifth(tested_once: Path) -> None:
    with Warehouse.open(tested_once) as warehouse:
        rows = warehouse.rows(
            "SELECT layer, head, feature, p_value, q_value, confirmed, fall_low, excess_low, distractor_activations[1]"
            " FROM absence_tests WHERE status = 'tested'"
        )
    by_head = defaultdict(list)
    for layer, head, _, p, q, confirmed, *fell, usual in rows:
        exceeds = all(end is not None and end > 0.01 * usual for end in fell)
        by_head[layer, head].append((p if exceeds else 1, q))
        assert confirmed == (q <= 0.2)
    for tests in by_head.values():
        p_values, rates = (np.array(column) for column in zip(*tests, strict=True))
        assert rates == pytest.approx(false_discovery_rates(p_values))


def test_several_tokens_stand_for_a_distractor(tested_once: Path, planted: PlantedModel) -> None:
    at = {"feature": planted.output_features[0, 1, "mouse at food"]}
    with Warehouse.open(tested_once) as warehouse:
        [(tokens, p)] = warehouse.rows(
            "SELECT distractor_token_ids, p_value FROM absence_tests WHERE layer = 0 AND head = 1 AND feature = $feature",
            at,
        )
        inserted = warehouse.rows(
            "SELECT DISTINCT token_id FROM interventions WHERE experiment = 'insertion' AND arm = 'distractor'"
            " AND layer = 0 AND head = 1 AND feature = $feature",
            at,
        )
    assert {planted.vocabulary[token] for token in tokens} == {"fox", "wolf", "owl"}
    assert sorted(inserted) == sorted((token,) for token in tokens)
    assert p == pytest.approx(1 / comb(12, 3))


def test_what_chance_confirms_is_averaged_over_like_cases(tested: Path) -> None:
    with Warehouse.open(tested, writable=True) as warehouse:
        warehouse.execute(
            "UPDATE absence_tests SET n_examples = 3 + rowid % 19, chance_confirmed = CASE rowid % 3 WHEN 0 THEN"
            " 0.1 WHEN 1 THEN 0 END"
        )
        rows = warehouse.sql("FROM absence_summary").pl().to_dicts()
        shares = {
            (row["layer"], row["head"], row["feature"]): row
            for row in warehouse.sql("FROM absence_tests").pl().to_dicts()
        }
    groups = defaultdict(list)
    for row in rows:
        n = row["n_examples"] or 0
        group = -1 if n < 5 else 0 if n < 10 else 1 if n < 20 else 2
        groups[row["layer"], group].append(row)
    seen = set()
    for group in groups.values():
        tests = [shares.get((row["layer"], row["head"], row["feature"])) for row in group]
        known = [t["chance_confirmed"] for t in tests if t is not None and t["chance_confirmed"] is not None]
        expected = sum(known) / len(known) if known else None
        for row in group:
            assert row["chance_share"] == pytest.approx(expected)
            seen.add(expected)
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((1, 1, 1), "fires when [a] occurs more often than [b]"),
        ((1, 1, 2), "fires when [a] occurs more often than [b], by at least 2"),
        ((1, 0, 2), "fires when [a] occurs at least 2 times"),
        ((3, 1, 1), "fires when 3 times the count of [a] exceeds the count of [b]"),
        ((2, 3, 4), "fires when 2 times the count of [a] exceeds 3 times the count of [b] by at least 4"),
    ],
)
def test_counting_rules_in_words(weights: tuple[int, int, int], words: str) -> None:
    names = ("key_weight", "opponent_weight", "threshold")
    rule = dict(zip(names, weights, strict=True), key_description="a", opponent_description="b")
    assert counting_words(rule) == words


# --- tokens ----------------------------------------------------------------------------------------


@given(tokens=st.lists(st.integers(1, 9), min_size=1, max_size=12), inserted=st.lists(st.integers(10, 19)))
def test_insertion_keeps_bos_and_length(tokens: list[int], inserted: list[int]) -> None:
    changed = insert(np.array([0, *tokens]), inserted).tolist()
    assert changed == [0, *inserted, *tokens][: len(tokens) + 1]


def test_neutral_tokens_are_the_nearest_in_frequency_that_never_excite() -> None:
    counts = {1: 100, 2: 90, 3: 120, 4: 5, 5: 4, 6: 1000}
    statistics = TokenStatistics(
        np.array(list(counts)), np.array(list(counts.values())), {7: {1: 3.0, 2: 1.0}, 8: {2: 0.1}}
    )
    assert statistics.neutral(1, [7, 8], 9) == (3, 6, 4)
    assert statistics.neutral(1, [8], 1) == (3,)
    assert statistics.neutral(4, [7], 2) == (3, 6)
    assert statistics.strongest(7) == (1,)
    assert statistics.strongest(9) == ()


def test_a_token_seen_once_does_not_stand_for_a_feature() -> None:
    statistics = TokenStatistics(np.array([1, 2]), np.array([1, 50]), {7: {1: 2.0, 2: 60.0}})
    assert statistics.strongest(7) == (2,)
    # The other is less than half as strong.
    assert statistics.strongest(7, 2) == (2,)


# --- counting: the definitions, slowly ---------------------------------------------------------------


def test_counts_are_those_of_the_definition(counted_once: Path) -> None:
    with Warehouse.open(counted_once) as warehouse:
        positions = defaultdict(set)
        for seq, pos, feature in warehouse.rows(
            "SELECT seq_id, pos, feature FROM input_activations WHERE pos > 0"
        ):
            positions[feature, seq].add(pos)
        active = {
            row[:4]: row[4]
            for row in warehouse.rows(
                "SELECT head, feature, seq_id, pos, activation FROM output_activations WHERE layer = 0"
            )
        }
        rules = warehouse.rows(
            "SELECT head, feature, key_feature, opponent_feature, query_feature FROM counting_rules"
        )
        found = defaultdict(dict)
        for head, feature, n_key, n_opponent, *figures in warehouse.rows(
            "SELECT head, feature, n_key, n_opponent, sum(n_positions), sum(n_active),"
            " sum(n_positions * mean_activation) FROM counting_counts GROUP BY ALL"
        ):
            found[head, feature][n_key, n_opponent] = figures
        n_sequences = warehouse.value("SELECT sum(n_seqs) FROM chunks")
    assert rules
    for head, feature, i, i2, j in rules:
        expected = defaultdict(lambda: [0, 0, 0.0])
        for seq in range(n_sequences):
            for q in positions[j, seq]:
                c = sum(p <= q for p in positions[i, seq])
                c2 = None if i2 is None else sum(p <= q for p in positions[i2, seq])
                y = active.get((head, feature, seq, q), 0.0)
                cell = expected[c, c2]
                cell[:] = [cell[0] + 1, cell[1] + (y > 0), cell[2] + y]
        assert found[head, feature].keys() == expected.keys()
        for cell, figures in expected.items():
            assert found[head, feature][cell] == pytest.approx(figures, rel=1e-6)


def slow_cells(predicted: list[bool], active: list[bool]) -> list[int]:
    pairs = list(zip(predicted, active, strict=True))
    return [pairs.count((p, a)) for p in (True, False) for a in (True, False)]


def test_a_counting_rule_stands_beside_the_position_rule_of_most_train_information(
    counted_once: Path,
) -> None:
    with Warehouse.open(counted_once) as warehouse:
        rules = warehouse.rows(
            "SELECT head, feature, query_feature, position_side, position_threshold, position_precision,"
            " position_recall, position_f1, position_information, information, position_gain,"
            " position_gain_low, position_gain_high FROM counting_rules"
        )
        places = defaultdict(list)
        for feature, seq, pos in warehouse.rows(
            "SELECT feature, seq_id, pos FROM input_activations WHERE pos > 0 ORDER BY ALL"
        ):
            places[feature].append((seq, pos))
        active = set(warehouse.rows("SELECT head, feature, seq_id, pos FROM output_activations"))
    assert rules
    for head, feature, query, side, threshold, *ratings, information_of_rule, gain, low, high in rules:
        halves = defaultdict(list)
        for seq, pos in places[query]:
            half = "train" if slow.mix32(slow.mix32(0 + 2) + seq) % 2 == 0 else "test"
            halves[half].append((pos, (head, feature, seq, pos) in active))

        def cells(half: str, side: str, threshold: int, halves: Any = halves) -> list[int]:
            said = [p >= threshold if side == "from" else p <= threshold for p, _ in halves[half]]
            return slow_cells(said, [a for _, a in halves[half]])

        def told(half: str, side: str, threshold: int, cells: Any = cells) -> float:
            found = cells(half, side, threshold)
            return slow_information(found) if found[0] * found[3] > found[1] * found[2] else 0.0

        best = max(
            told("train", side, threshold)
            for side in ("from", "up to")
            for threshold in {pos for pos, _ in halves["train"]}
        )
        assert told("train", side, threshold) == pytest.approx(best)
        hits, false, missed, _ = cells("test", side, threshold)
        expected = [hits / (hits + false), hits / (hits + missed), 2 * hits / (2 * hits + false + missed)]
        assert ratings == pytest.approx([*expected, told("test", side, threshold)])
        assert gain == pytest.approx(information_of_rule - ratings[-1])
        assert 0 < low <= gain <= high


@pytest.mark.parametrize(("side", "threshold"), [("from", 20), ("up to", 9)])
def test_a_feature_that_is_active_late_or_early_in_the_row_is_no_counter(
    counted_once: Path, tmp_path: Path, planted: PlantedModel, side: str, threshold: int
) -> None:
    path = Path(shutil.copy(counted_once, tmp_path / "counted.duckdb"))
    at = FeatureId(0, 2, planted.output_features[0, 2, "two knocks"])
    with Warehouse.open(path, writable=True) as warehouse:
        warehouse.execute(
            "DELETE FROM output_activations WHERE head = 2 AND feature = $feature", {"feature": at.feature}
        )
        warehouse.execute(
            "INSERT INTO output_activations BY NAME SELECT 0 AS layer, 2 AS head, $feature AS feature, seq_id,"
            " pos, 1 AS activation FROM tokens WHERE CASE $side WHEN 'from' THEN pos >= $threshold"
            " ELSE pos <= $threshold END",
            {"feature": at.feature, "side": side, "threshold": threshold},
        )
        [head] = mine_counting(warehouse, CountingSpec(features=(at,), pairs=3)).heads
    assert head.n_rules == 0


@pytest.mark.parametrize("baseline", ["presence", "position"])
def test_a_rule_beats_a_baseline_in_information_and_in_f1(baseline: str) -> None:
    gain = "gain_low" if baseline == "presence" else "position_gain_low"
    assert beats({"f1": 0.8, f"{baseline}_f1": 0.7, gain: 0.01}, f"{baseline}_")
    assert not beats({"f1": 0.8, f"{baseline}_f1": 0.84, gain: 0.01}, f"{baseline}_")
    assert not beats({"f1": 0.8, f"{baseline}_f1": 0.7, gain: 0.0}, f"{baseline}_")


def test_the_position_rule_says_active_on_the_side_where_it_is() -> None:
    positions, n = np.arange(1, 9), np.full(8, 10)
    assert choose_position(positions, n, 10 * (positions >= 6)) == PositionRule(6, from_threshold=True)
    assert choose_position(positions, n, 10 * (positions <= 3)) == PositionRule(3, from_threshold=False)


def slow_information(cells: list[int]) -> float:
    n = sum(cells)
    total = 0.0
    for side in (0, 1):
        for state in (0, 1):
            joint = cells[2 * side + state] / n
            if joint:
                row = (cells[2 * side] + cells[2 * side + 1]) / n
                column = (cells[state] + cells[2 + state]) / n
                total += joint * np.log2(joint / (row * column))
    return total


@given(st.lists(st.integers(0, 30), min_size=4, max_size=4).filter(any))
def test_information_is_the_mutual_information_of_a_rule_that_helps(cells: list[int]) -> None:
    helps = cells[0] * cells[3] > cells[1] * cells[2]
    expected = slow_information(cells) if helps else 0.0
    assert float(information(np.array(cells, dtype=float))) == pytest.approx(expected, abs=1e-9)


def table(active: Callable[[int, int], bool], *, with_opponent: bool) -> list[dict[str, Any]]:
    """Every pair of counts up to 6, ten positions each."""
    return [
        {
            "split": "train",
            "n_key": c,
            "n_opponent": c2 if with_opponent else None,
            "n_positions": 10,
            "n_active": 10 * active(c, c2),
        }
        for c in range(7)
        for c2 in range(7 if with_opponent else 1)
    ]


@pytest.mark.parametrize(
    ("rule", "with_opponent"),
    [((1, 0, 2), False), ((1, 0, 5), True), ((1, 1, 1), True), ((3, 2, 1), True), ((1, 4, 2), True)],
)
def test_the_rule_that_explains_everything_is_chosen(rule: tuple[int, int, int], with_opponent: bool) -> None:
    p, m, threshold = rule
    chosen = choose(table(lambda c, c2: p * c - m * c2 >= threshold, with_opponent=with_opponent))
    assert chosen is not None
    for c in range(7):
        for c2 in range(7 if with_opponent else 1):
            by_chosen = chosen.key_weight * c - chosen.opponent_weight * c2 >= chosen.threshold
            assert by_chosen == (p * c - m * c2 >= threshold)


@pytest.mark.parametrize(
    "active", [lambda c, c2: c > 0, lambda c, c2: c > 0 and c2 == 0, lambda c, c2: c == 0, lambda c, c2: True]
)
def test_nothing_is_chosen_where_presence_explains_as_much(active: Callable[[int, int], bool]) -> None:
    assert choose(table(active, with_opponent=True)) is None


def test_rules_are_tried_from_the_simplest_on() -> None:
    sizes = [sum(rule) for rule in candidate_rules(with_opponent=True)]
    assert sizes == sorted(sizes)
    assert len(set(candidate_rules(with_opponent=True))) == len(sizes)


def test_the_grid_of_a_counting_rule_stands_beside_the_corpus(tested_once: Path) -> None:
    with Warehouse.open(tested_once) as warehouse:
        [(layer, head, feature)] = warehouse.rows(
            "SELECT layer, head, feature FROM counting_rules SEMI JOIN counting_grid"
            " USING (layer, head, feature, scaling, pair) ORDER BY ALL LIMIT 1"
        )
        cells = warehouse.rows(
            "SELECT 'corpus', n_key, coalesce(n_opponent, 0), sum(n_active) / sum(n_positions) FROM counting_counts"
            " SEMI JOIN counting_rules USING (layer, head, feature, scaling, pair)"
            f" WHERE (layer, head, feature) = ({layer}, {head}, {feature}) AND split = 'test'"
            " AND n_key <= 4 AND coalesce(n_opponent, 0) <= 4 GROUP BY ALL"
            " UNION ALL SELECT 'model', n_key, n_opponent, active_share FROM counting_grid"
            f" WHERE (layer, head, feature) = ({layer}, {head}, {feature})"
        )
        found = head_pages(warehouse, layer, head, [feature])
        row = next(of for of in found.features if of["feature"] == feature)
        page = feature_page(environment(), found, row)
    assert {place for place, *_ in cells} == {"corpus", "model"}
    assert sorted((c["place"], c["n_key"], c["n_opponent"], c["active_share"]) for c in found.of("counting_cells", feature)) == sorted(cells)  # fmt: skip
    grids = re.findall(r"<caption>(.*?)</caption>.*?<tbody>(.*?)</tbody>", page, re.DOTALL)
    shown = [share for _, body in grids for share in re.findall(r'<td style="--c: ([0-9.]+)"', body)]
    assert sorted(shown) == sorted(f"{share:.2f}" for *_, share in cells)
