"""What features make the model say, tested on it: the planted token is raised, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attnrules.errors import AttnRulesError
from attnrules.ingest import ingest
from attnrules.ingest.intervene import Laboratory, LaboratorySpec
from attnrules.queries.interventions import OutputResult, OutputSpec, intervene_on_outputs
from attnrules.warehouse import Warehouse, check, digests
from tests.planted import PlantedModel
from tests.test_other_models import build, save, spec_for


def put_to_test(path: Path, **options: Any) -> OutputResult:
    with Warehouse.open(path, writable=True) as warehouse:
        laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
        return intervene_on_outputs(warehouse, OutputSpec(**options), laboratory)


@pytest.fixture(scope="module")
def tested_once(ingested_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted warehouse with all outputs tested. Not to be written to."""
    path = Path(shutil.copy(ingested_once, tmp_path_factory.mktemp("outputs") / "planted.duckdb"))
    put_to_test(path)
    return path


def rows(path: Path, query: str) -> list[Any]:
    with Warehouse.open(path) as warehouse:
        return warehouse.rows(query)


# --- the planted truth -----------------------------------------------------------------------------


def test_exactly_the_planted_tokens_are_confirmed(tested_once: Path, planted: PlantedModel) -> None:
    found = rows(tested_once, "SELECT layer, head, feature, token_id FROM output_token_tests WHERE confirmed")
    assert sorted(found) == sorted((*at, token) for at, token in planted.promoted_tokens.items())


def test_what_the_planted_feature_raises_is_what_its_effect_says(
    tested_once: Path, planted: PlantedModel
) -> None:
    """In the last layer: the raise of the token is that of its logit, less what the softmax takes of it.

    The final scale falls when the contribution is taken away, so that the other logits change a little too.
    """
    found = rows(
        tested_once,
        "SELECT raise, effect * mean_activation / final_scale AS by_weights FROM output_token_tests"
        " INNER JOIN output_tests USING (layer, head, feature) INNER JOIN output_tokens"
        " USING (layer, head, feature, token_id) WHERE confirmed",
    )
    assert len(found) == len(planted.promoted_tokens)
    for raised, by_weights in found:
        assert 0.3 * by_weights < raised < 1.3 * by_weights


def test_a_feature_that_writes_nothing_or_never_fires_is_named(
    tested_once: Path, planted: PlantedModel
) -> None:
    query = "SELECT layer, head, feature, status FROM output_tests"
    found = {row[:3]: row[3] for row in rows(tested_once, query)}
    assert {at for at, status in found.items() if status == "tested"} == planted.promoted_tokens.keys()
    assert set(found.values()) == {"tested", "no effect"}


def test_every_tested_feature_has_examples_controls_and_intervals(tested_once: Path) -> None:
    found = rows(
        tested_once,
        "SELECT n_examples, n_controlled, promoted_raise_low, promoted_excess_low, next_raise_low,"
        " n_random FROM output_tests WHERE status = 'tested'",
    )
    for n, controlled, promoted, excess, of_next, n_random in found:
        assert n == 20
        assert 0 < controlled <= n
        assert min(promoted, excess) > 0.1
        assert of_next is not None
        assert n_random == 10


def test_the_outcome_depends_on_the_seed_alone(tested_once: Path, ingested: Path) -> None:
    tables = ("output_tests", "output_token_tests")
    query = "SELECT * EXCLUDE (run_id) FROM {} WHERE layer = 1 AND head = 0 ORDER BY ALL"
    expected = [rows(tested_once, query.format(table)) for table in tables]
    put_to_test(ingested, layers=(1,), heads=(0,))
    assert [rows(ingested, query.format(table)) for table in tables] == expected
    put_to_test(ingested, layers=(1,), heads=(0,), seed=1)
    again = [rows(ingested, query.format(table)) for table in tables]
    assert len(again[0]) == len(expected[0])
    assert again[0] != expected[0]


def test_the_warehouse_stays_sound_and_says_how_many_were_tested(
    attnrules: Callable[..., Any], ingested: Path
) -> None:
    outcome = attnrules("intervene", ingested, "--outputs", "--layers", "1", "--device", "cpu")
    assert outcome.code == 0
    assert "L1H0: 4 of 24 features tested, 4 of them make the model say a token; 4 of" in outcome.err, (
        outcome.err
    )
    assert "240 sequences run" in outcome.err
    with Warehouse.open(ingested) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []


def test_without_effects_it_names_the_command_that_adds_them(
    attnrules: Callable[..., Any], ingested: Path
) -> None:
    with Warehouse.open(ingested, writable=True) as warehouse, warehouse.transaction():
        warehouse.execute("DELETE FROM output_effects")
        digests.restamp(warehouse, "output_effects")
    outcome = attnrules("intervene", ingested, "--outputs", "--device", "cpu")
    assert outcome.code == 1
    assert (
        "does not know what the features of L0H0 write; run the same `attnrules ingest` again" in outcome.err
    )


def test_an_unusable_unembedding_is_refused_with_its_reason(ingested: Path) -> None:
    with Warehouse.open(ingested, writable=True) as warehouse, warehouse.transaction():
        warehouse.execute("UPDATE unembedding SET status = 'it has none'")
        digests.restamp(warehouse, "unembedding")
    with pytest.raises(AttnRulesError, match="cannot be tested: it has none"):
        put_to_test(ingested)


# --- other architectures ---------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt-2", "llama", "gpt-neox", "gemma-2"])
def test_what_is_taken_away_is_the_contribution(
    architecture: str, planted: PlantedModel, tmp_path: Path
) -> None:
    """Compared with the model of transformers run with a changed input of the matrix W_O: parallel too."""
    import transformers

    torch.manual_seed(0)
    save(build(architecture), tmp_path / "model", planted)
    spec = spec_for(tmp_path, planted, 4)
    ingest(tmp_path / "w.duckdb", spec)
    tokens = np.array([[47, 3, 9, 4, 11, 2, 8, 30]])
    trial = {
        "tokens": tokens,
        "query_pos": np.array([5]),
        "feature": np.array([7]),
        "activation": np.array([0.75]),
        "control": np.array([-1]),
        "control_activation": np.array([0.0]),
        "watched": np.array([[1, 20, -1]]),
    }
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
        found = laboratory.log_probabilities(0, 2, trial)
    from safetensors.torch import load_file

    decoder = load_file(tmp_path / "out" / "0-2" / "sae_weights.safetensors")["W_dec"][7]
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    project = {
        "gpt-2": lambda: model.transformer.h[0].attn.c_proj,
        "gpt-neox": lambda: model.gpt_neox.layers[0].attention.dense,
    }.get(architecture, lambda: model.model.layers[0].self_attn.o_proj)()

    def without(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        changed = inputs[0].clone()
        changed[0, 5, 12:18] -= 0.75 * decoder
        return (changed, *inputs[1:])

    def chances() -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor(tokens)).logits[0, 5].log_softmax(-1)[[1, 20]]

    as_is = chances()
    project.register_forward_pre_hook(without)
    for name, expected in (("as_is", as_is), ("removed", chances())):
        assert found[name][0, :2] == pytest.approx(expected.tolist(), abs=2e-4), name
        assert np.isnan(found[name][0, 2])
    assert np.isnan(found["controlled"]).all()
    assert abs(found["as_is"][0, 0] - found["removed"][0, 0]) > 1e-3
