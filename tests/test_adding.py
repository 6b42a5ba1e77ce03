"""Adding heads from other sources, replacing an output SAE, other devices and precisions."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

from attnrules import sql
from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest import IngestProgress, IngestSpec, ingest
from attnrules.ingest.capture.forward import Capture, Targets
from attnrules.ingest.plan import plan
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse, check
from tests.planted import CHECKPOINT_NAME, PlantedModel

FACTS = ("tokens", "input_activations", "output_activations", "attention_sources", "token_scales")
WEIGHTS = ("heads", "projections", "input_features", "output_features")
REPLACED = (0, 1)


@pytest.fixture(scope="module")
def spec(planted_spec: IngestSpec) -> IngestSpec:
    return replace(planted_spec, n_sequences=96, chunk_size=32, batch_size=32, min_attention=0.01)


@pytest.fixture(scope="module")
def whole(spec: IngestSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.duckdb"
    ingest(path, spec)
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "w.duckdb"))


def some_saes(planted: PlantedModel, folder: Path, heads: list[tuple[int, int]]) -> str:
    """A folder with the output SAEs of these heads only."""
    folder.mkdir()
    for layer, head in heads:
        for path in planted.output_sae_dir.glob(CHECKPOINT_NAME.format(layer=layer, head=head, version="*")):
            shutil.copy(path, folder)
    return str(folder)


def digest(path: Path, tables: tuple[str, ...], where: str = "true") -> dict[str, Any]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {
            table: connection.execute(
                f"SELECT count(*), sum(hash(t)) FROM {table} AS t WHERE {where}"
            ).fetchall()
            for table in tables
        }


def assert_sound(path: Path) -> None:
    with Warehouse.open(path) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []


ALL_HEADS = [(layer, head) for layer in range(2) for head in range(4)]


@pytest.fixture
def halves(planted: PlantedModel, tmp_path: Path) -> tuple[str, str]:
    """Two folders, each with half of the output SAEs."""
    first = some_saes(planted, tmp_path / "first", ALL_HEADS[:3])
    return first, some_saes(planted, tmp_path / "second", ALL_HEADS[3:])


def test_heads_are_added_from_another_source(
    spec: IngestSpec, whole: Path, halves: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "w.duckdb"
    ingest(path, replace(spec, output_sae=halves[0]))
    shutil.rmtree(halves[0])
    ingest(path, replace(spec, output_sae=halves[1]))
    assert digest(path, FACTS + WEIGHTS) == digest(whole, FACTS + WEIGHTS)
    assert_sound(path)


def test_sequences_are_added_to_heads_of_two_sources(
    spec: IngestSpec, whole: Path, halves: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "w.duckdb"
    ingest(path, replace(spec, output_sae=halves[0], n_sequences=32))
    ingest(path, replace(spec, output_sae=halves[1], n_sequences=96))
    assert digest(path, FACTS + WEIGHTS) == digest(whole, FACTS + WEIGHTS)


def test_what_was_mined_of_fewer_sequences_is_said_once_some_are_added(
    small_spec: IngestSpec, small: Path
) -> None:
    with Warehouse.open(small) as warehouse:
        [(n_features,)] = warehouse.rows("SELECT count(DISTINCT (layer, head, feature)) FROM distractors")
        mined = warehouse.rows("FROM rule_metrics ORDER BY ALL")
    more = replace(small_spec, n_sequences=100)
    said = [
        [line for line in ingest(small, spec).warnings if line.startswith("what was mined")]
        for spec in (small_spec, more, more)
    ]
    assert said == [
        [],
        [
            f"what was mined and tested of {n_features} features stays as it was on 96 of the 100 sequences;"
            " mine and test them again for figures of all"
        ],
        [],
    ]
    with Warehouse.open(small) as warehouse:
        assert warehouse.rows("FROM rule_metrics ORDER BY ALL") == mined


def test_sequences_cannot_be_added_without_the_saes_of_all_heads(
    spec: IngestSpec, halves: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "w.duckdb"
    ingest(path, replace(spec, output_sae=halves[0], n_sequences=32))
    shutil.rmtree(halves[0])
    before = digest(path, FACTS)
    with pytest.raises(AttnRulesError, match=r"has none of L0H0, which .* holds"):
        ingest(path, replace(spec, output_sae=halves[1]))
    with pytest.raises(AttnRulesError, match=r"has none of L0H0, which .* holds"):
        plan(path, replace(spec, output_sae=halves[1]))
    assert digest(path, FACTS) == before


# --- replacing an output SAE -----------------------------------------------------------------------


@pytest.fixture
def other_sae(planted: PlantedModel, tmp_path: Path) -> str:
    """A folder with a different SAE for one head."""
    folder = some_saes(planted, tmp_path / "other", [REPLACED])
    path = Path(folder) / f"{CHECKPOINT_NAME.format(layer=0, head=1, version=10)}.pt"
    state = torch.load(path, weights_only=True)
    state["b_enc"] += 0.25
    torch.save(state, path)
    return folder


def of_replaced(spec: IngestSpec, other_sae: str, **changes: Any) -> IngestSpec:
    return replace(spec, layers=(0,), heads=(1,), output_sae=other_sae, **changes)


def test_a_different_sae_is_refused_with_both_named(spec: IngestSpec, copy: Path, other_sae: str) -> None:
    before = digest(copy, FACTS + WEIGHTS)
    with pytest.raises(AttnRulesError, match=r"output SAE of L0H1 from .* not the one in .*--replace-output"):
        ingest(copy, of_replaced(spec, other_sae))
    assert digest(copy, FACTS + WEIGHTS) == before


def test_replacing_an_sae_gives_what_ingesting_it_gives(
    spec: IngestSpec, whole: Path, copy: Path, other_sae: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[Targets] = []
    run = Capture.run

    def spy(self: Capture, tokens: Any, first_seq: int, targets: Targets, *rest: Any) -> Any:
        captured.append(targets)
        return run(self, tokens, first_seq, targets, *rest)

    monkeypatch.setattr(Capture, "run", spy)
    ingest(copy, of_replaced(spec, other_sae, replace_output_saes=True))
    assert set(captured) == {Targets((), (), (REPLACED,))}
    assert_sound(copy)
    fresh = tmp_path / "fresh.duckdb"
    ingest(fresh, of_replaced(spec, other_sae))
    this, others = "layer = 0 AND head = 1", "layer <> 0 OR head <> 1"
    tables = ("output_activations", "output_features")
    assert digest(copy, tables, this) == digest(fresh, tables, this)
    assert digest(copy, tables, this) != digest(whole, tables, this)
    assert digest(copy, tables, others) == digest(whole, tables, others)
    untouched = ("tokens", "input_activations", "attention_sources", "token_scales", "projections", "heads")
    assert digest(copy, untouched) == digest(whole, untouched)


def test_replacing_an_sae_drops_what_was_mined_about_its_head_only(
    planted_spec: IngestSpec, mined: Path, other_sae: str
) -> None:
    tables = ("examples", "rules", "rule_scores", "rule_evaluations", "rule_metric_values")
    others = digest(mined, tables, "layer <> 0 OR head <> 1")
    ingest(mined, of_replaced(planted_spec, other_sae, replace_output_saes=True))
    assert {rows[0][0] for rows in digest(mined, tables, "layer = 0 AND head = 1").values()} == {0}
    assert digest(mined, tables, "layer <> 0 OR head <> 1") == others
    assert_sound(mined)
    with Warehouse.open(mined, writable=True) as warehouse:
        mine_skipgrams(
            warehouse, SkipgramSpec(n_features=None, examples_per_split=10, layers=(0,), heads=(1,))
        )


def test_an_interrupted_replacement_goes_on(
    spec: IngestSpec, copy: Path, other_sae: str, tmp_path: Path
) -> None:
    def stop(progress: IngestProgress) -> None:
        if progress.done >= 32:
            raise KeyboardInterrupt

    uninterrupted = tmp_path / "uninterrupted.duckdb"
    shutil.copy(copy, uninterrupted)
    change = of_replaced(spec, other_sae, replace_output_saes=True)
    ingest(uninterrupted, change)
    with pytest.raises(KeyboardInterrupt):
        ingest(copy, change, stop)
    assert_sound(copy)
    ingest(copy, change)
    assert_sound(copy)
    assert digest(copy, FACTS + WEIGHTS) == digest(uninterrupted, FACTS + WEIGHTS)


def test_every_table_about_output_features_is_forgotten(whole: Path) -> None:
    with Warehouse.open(whole) as warehouse:
        about = warehouse.rows(
            "SELECT table_name FROM duckdb_columns() WHERE column_name IN ('layer', 'head', 'feature')"
            " AND table_name IN $tables GROUP BY table_name HAVING count(*) = 3",
            {"tables": sql.table_names()},
        )
    forgotten = {
        re.search(r"(?:FROM|UPDATE) (\w+)", statement.text)[1] for statement in sql.forget_statements()
    }  # type: ignore[index]
    # The feature of a projection is an input feature.
    assert {name for (name,) in about} - {"projections"} <= forgotten


# --- devices and precisions ------------------------------------------------------------------------


def test_two_devices_store_what_one_stores(spec: IngestSpec, whole: Path, tmp_path: Path) -> None:
    ingest(tmp_path / "w.duckdb", replace(spec, device="cpu,cpu", chunk_size=8))
    assert digest(tmp_path / "w.duckdb", FACTS + WEIGHTS) == digest(whole, FACTS + WEIGHTS)


@pytest.mark.parametrize("batch_size", [None, 1, 7, 96])
def test_the_batch_size_changes_nothing(
    spec: IngestSpec, whole: Path, tmp_path: Path, batch_size: int | None
) -> None:
    ingest(tmp_path / "w.duckdb", replace(spec, batch_size=batch_size, chunk_size=None))
    assert digest(tmp_path / "w.duckdb", FACTS + WEIGHTS) == digest(whole, FACTS + WEIGHTS)


def test_bfloat16_is_recorded_and_not_mixed(spec: IngestSpec, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    ingest(path, replace(spec, dtype="bfloat16"))
    assert_sound(path)
    with Warehouse.open(path) as warehouse:
        assert warehouse.value("SELECT dtype FROM model") == "bfloat16"
    before = digest(path, FACTS)
    assert before["output_activations"] != digest(whole, FACTS)["output_activations"]
    with pytest.raises(AttnRulesError, match="--dtype bfloat16, not float32"):
        ingest(path, spec)
    assert digest(path, FACTS) == before


def test_tf32_needs_a_device_that_has_it(spec: IngestSpec, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only CUDA devices"):
        ingest(tmp_path / "w.duckdb", replace(spec, dtype="tf32"))


def test_a_device_that_is_not_there_is_named(spec: IngestSpec, tmp_path: Path) -> None:
    with pytest.raises(AttnRulesError, match="--device cuda:7: not available"):
        ingest(tmp_path / "w.duckdb", replace(spec, device="cpu,cuda:7"))
