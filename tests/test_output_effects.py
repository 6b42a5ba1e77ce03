"""What output features say: by the weights, against a direct computation, and in the corpus, read slowly."""

from __future__ import annotations

import math
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.output_effects import token_effects
from attnrules.ingest.output_rows import unembedding_facts
from attnrules.ingest.sources.model import load_model
from attnrules.warehouse import Warehouse, check, digests
from tests.planted import PlantedModel
from tests.test_other_models import build, save, spec_for
from tests.tiny import Tiny, shapes
from tests.tiny import build as build_tiny

# --- the planted truth -----------------------------------------------------------------------------


def test_a_planted_feature_promotes_its_token_and_no_other(
    ingested_once: Path, planted: PlantedModel
) -> None:
    with Warehouse.open(ingested_once) as warehouse:
        found = {
            row[:3]: row[3]
            for row in warehouse.rows(
                "SELECT layer, head, feature, list(token_id) FROM output_tokens WHERE side = 'promoted'"
                " GROUP BY ALL"
            )
        }
    assert found == {at: [token] for at, token in planted.promoted_tokens.items()}


def test_a_planted_effect_is_the_product_of_its_rows(ingested_once: Path, planted: PlantedModel) -> None:
    with Warehouse.open(ingested_once) as warehouse:
        rows = warehouse.rows(
            "SELECT effect, write_norm, deviation, kurtosis FROM output_tokens INNER JOIN output_effects"
            " USING (layer, head, feature) WHERE side = 'promoted'"
        )
    n = len(planted.vocabulary)
    # The decoder row is 1/8 of the coordinate that W_O writes a quarter of; the token's own level is 5/4.
    effect = 5 / 4 / 32
    for row in rows:
        assert row[:2] == pytest.approx((effect * (1 - 1 / n), 1 / 32))
        # One of n tokens has the effect: a Bernoulli variable.
        p = 1 / n
        assert row[2:] == pytest.approx(
            (effect * math.sqrt(p * (1 - p)), (1 - 3 * p * (1 - p)) / (p * (1 - p)))
        )


def test_a_feature_that_writes_nothing_has_no_tokens_and_no_kurtosis(
    ingested_once: Path, planted: PlantedModel
) -> None:
    with Warehouse.open(ingested_once) as warehouse:
        silent = warehouse.rows(
            "SELECT layer, head, feature, kurtosis FROM output_effects WHERE deviation = 0"
        )
        n_features = warehouse.value("SELECT count(*) FROM output_features")
    assert len(silent) == n_features - len(planted.promoted_tokens)
    assert {row[3] for row in silent} == {None}
    assert not {row[:3] for row in silent} & planted.promoted_tokens.keys()


def test_the_final_norm_is_measured(ingested_once: Path, planted: PlantedModel) -> None:
    with Warehouse.open(ingested_once) as warehouse:
        status, n_tokens, cap, scale, random = warehouse.rows(
            "SELECT status, n_tokens, logit_soft_cap, final_scale, random_kurtosis FROM unembedding"
        )[0]
    assert (status, n_tokens, cap) == ("usable", len(planted.vocabulary), None)
    # A word and u of the first MLP, plus what layer 1 writes where a feature of it is active.
    assert 25 / 128 <= scale < 1.5 * 25 / 128
    assert 2 < random < 6


# --- the effects -----------------------------------------------------------------------------------


def direct(u: torch.Tensor, W_U: torch.Tensor) -> np.ndarray[Any, Any]:
    """The definition: all effects at once, in float64."""
    effects = (u.double() @ W_U.double()).numpy()
    return np.asarray(effects - effects.mean(axis=1, keepdims=True))


@settings(deadline=None, max_examples=25)
@given(
    tokens_at_once=st.integers(1, 60),
    features_at_once=st.integers(1, 9),
    n_kept=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_tiles_of_any_size_give_what_all_effects_at_once_give(
    tokens_at_once: int, features_at_once: int, n_kept: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    u, W_U = torch.randn(7, 5, generator=generator), torch.randn(5, 50, generator=generator)
    found = token_effects(
        lambda a, b: u[a:b], 7, W_U, n_kept, centred=False, at_once=(tokens_at_once, features_at_once)
    )
    effects = direct(u, W_U)
    assert found.deviation == pytest.approx(effects.std(axis=1), rel=1e-5)
    assert found.kurtosis == pytest.approx((effects**4).mean(axis=1) / effects.var(axis=1) ** 2, rel=1e-4)
    assert found.write_norm == pytest.approx(u.norm(dim=1).numpy(), rel=1e-6)
    for side, sign in ((found.promoted, 1), (found.suppressed, -1)):
        rows = zip(side.feature.tolist(), side.rank.tolist(), side.token.tolist(), strict=True)
        assert list(rows) == [
            (feature, rank, token)
            for feature, of_feature in enumerate(sign * effects)
            for rank, token in enumerate(np.argsort(-of_feature)[:n_kept].tolist(), 1)
            if of_feature[token] > 0
        ]
        assert side.effect == pytest.approx(effects[side.feature, side.token], rel=1e-4, abs=1e-5)


@settings(deadline=None, max_examples=25)
@given(tokens_at_once=st.integers(1, 9), n_kept=st.integers(1, 8))
def test_of_equal_effects_the_smaller_token_id_comes_first(tokens_at_once: int, n_kept: int) -> None:
    W_U = torch.tensor([[1.0, -1.0, 1.0, 0.0, -0.0, 1.0, -1.0, -1.0]])
    found = token_effects(
        lambda a, b: torch.ones(1, 1)[a:b], 1, W_U, n_kept, centred=False, at_once=(tokens_at_once, 1)
    )
    assert found.promoted.token.tolist() == [0, 2, 5][:n_kept]
    assert found.suppressed.token.tolist() == [1, 6, 7][:n_kept]


# --- models of every shape -------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gpt-2", "llama", "gpt-neox", "gemma-2"])
def of_architecture(
    request: pytest.FixtureRequest, planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, IngestSpec]:
    """A random model of an architecture, with its SAEs, ingested."""
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp(request.param)
    save(build(request.param), home / "model", planted)
    spec = spec_for(home, planted, 6)
    ingest(home / "w.duckdb", spec)
    return home / "w.duckdb", spec


def unprocessed(folder: str) -> tuple[torch.Tensor, torch.Tensor]:
    """W_O of head 2 of layer 1 [d_head, d_model], and the unembedding with the norm before it [d_model, 48].

    As transformers holds them, with the weights of a norm behind the attention in W_O.
    """
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    match model.config.model_type:
        case "gpt2":
            block, norm = model.transformer.h[1], model.transformer.ln_f.weight
            W_O = block.attn.c_proj.weight
        case "gpt_neox":
            block, norm = model.gpt_neox.layers[1], model.gpt_neox.final_layer_norm.weight
            W_O = block.attention.dense.weight.T
        case _:
            block, norm = model.model.layers[1], model.model.norm.weight
            W_O = block.self_attn.o_proj.weight.T
    if model.config.model_type == "gemma2":
        norm = 1 + norm
        W_O = W_O * (1 + block.post_attention_layernorm.weight)
    head = model.get_output_embeddings().weight.T
    return W_O[12:18].detach(), (norm[:, None] * head).detach()


def test_effects_are_those_of_the_weights_that_transformers_holds(
    of_architecture: tuple[Path, IngestSpec],
) -> None:
    path, spec = of_architecture
    W_O, W_U = unprocessed(spec.model)
    u = load_file(Path(spec.output_sae) / "1-2" / "sae_weights.safetensors")["W_dec"] @ W_O
    if "llama" not in spec.model and "gemma" not in spec.model:
        u = u - u.mean(dim=1, keepdim=True)  # a layer norm removes the mean
    effects = u @ W_U
    effects = effects - effects.mean(dim=1, keepdim=True)
    expected = set()
    for feature, of_feature in enumerate(effects):
        order = of_feature.argsort(descending=True).tolist()
        for side, tokens in (("promoted", order), ("suppressed", order[::-1])):
            n = min(20, int((of_feature > 0 if side == "promoted" else of_feature < 0).sum()))
            expected |= {(feature, side, rank + 1, token) for rank, token in enumerate(tokens[:n])}
    with Warehouse.open(path) as warehouse:
        rows = warehouse.rows(
            "SELECT feature, side, rank, token_id, effect FROM output_tokens WHERE layer = 1 AND head = 2"
        )
    assert {row[:4] for row in rows} == expected
    for feature, _, _, token, effect in rows:
        assert effect == pytest.approx(float(effects[feature, token]), rel=1e-3, abs=1e-5)


def test_the_soft_cap_of_a_model_is_noted(of_architecture: tuple[Path, IngestSpec]) -> None:
    path, spec = of_architecture
    with Warehouse.open(path) as warehouse:
        status, cap = warehouse.rows("SELECT status, logit_soft_cap FROM unembedding")[0]
    assert (status, cap) == ("usable", 30.0 if "gemma-2" in spec.model else None)


def test_logits_that_are_no_product_with_the_unembedding_are_refused_in_words(
    planted: PlantedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(planted.model_dir), revision=None, device="cpu")
    sample = np.array([[47, 3, 5, 7, 9]])
    assert unembedding_facts(model, sample)["status"] == "usable"
    with torch.no_grad():
        model.bridge.unembed.original_component.weight.mul_(0.5)
    monkeypatch.setattr(type(model.bridge), "W_U", torch.ones(64, 48))
    facts = unembedding_facts(model, sample)
    assert "are not its normalised residual stream times its unembedding W_U" in facts["status"]
    assert facts.keys() == {"status"}


def test_a_finished_warehouse_without_them_is_filled_by_the_same_ingest(
    ingested: Path, planted_spec: IngestSpec
) -> None:
    tables = ("unembedding", "output_effects", "output_tokens")
    query = "SELECT list(t ORDER BY hash(t)) FROM {} AS t"
    with Warehouse.open(ingested, writable=True) as warehouse:
        before = [warehouse.value(query.format(table)) for table in tables]
        with warehouse.transaction():
            for table in tables:
                warehouse.execute(f"DELETE FROM {table}")
                digests.restamp(warehouse, table)
    result = ingest(ingested, planted_spec)
    assert result.n_captured == 0
    with Warehouse.open(ingested) as warehouse:
        assert [warehouse.value(query.format(table)) for table in tables] == before
        assert [found for found in check(warehouse) if found.n_problems] == []


def test_another_number_of_tokens_replaces_those_of_the_heads_asked_for(
    of_architecture: tuple[Path, IngestSpec], tmp_path: Path
) -> None:
    path = Path(shutil.copy(of_architecture[0], tmp_path / "w.duckdb"))
    ingest(path, replace(of_architecture[1], n_output_tokens=3, layers=(1,)))
    # Not asked for, the number stays.
    ingest(path, of_architecture[1])
    with Warehouse.open(path) as warehouse:
        found = warehouse.rows(
            "SELECT layer, max(n_kept), max(rank) FROM output_effects INNER JOIN output_tokens"
            " USING (layer, head, feature) GROUP BY layer ORDER BY layer"
        )
        assert [result for result in check(warehouse) if result.n_problems] == []
    assert found == [(0, 20, 20), (1, 3, 3)]


# --- what follows in the corpus ---------------------------------------------------------------------


def slow_next_tokens(warehouse: Warehouse) -> dict[tuple[int, ...], tuple[float, ...]]:
    """The definition, position by position; the interval by the same formula written out."""
    tokens = {
        (seq, pos): token for seq, pos, token in warehouse.rows("SELECT seq_id, pos, token_id FROM tokens")
    }
    base: dict[int, int] = defaultdict(int)
    for (_, pos), token in tokens.items():
        base[token] += pos > 1
    n_all = sum(base.values())
    follows: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    for layer, head, feature, seq, pos in warehouse.rows(
        "SELECT layer, head, feature, seq_id, pos FROM output_activations"
    ):
        if pos > 0 and (seq, pos + 1) in tokens:
            follows[layer, head, feature].append((seq, tokens[seq, pos + 1]))
    found = {}
    for at, pairs in follows.items():
        for token in {token for _, token in pairs}:
            n, k = len(pairs), sum(t == token for _, t in pairs)
            s, p = len({seq for seq, t in pairs if t == token}), base[token] / n_all
            if s < 3 or p == 1:
                continue
            share = (k + 20 * p) / (n + 20)
            odds = math.log(share / (1 - share)) - math.log(p / (1 - p))
            low = s * (1 - 1 / (9 * s) - 3.2905 / (3 * math.sqrt(s))) ** 3
            high = (s + 1) * (1 - 1 / (9 * (s + 1)) + 3.2905 / (3 * math.sqrt(s + 1))) ** 3
            found[*at, token] = (n, k, s, p, odds, odds + math.log(low / s), odds + math.log(high / s))
    return found


@settings(deadline=None, max_examples=6)
@given(tiny=shapes(10))
def test_next_tokens_are_those_of_the_definition(
    tmp_path_factory: pytest.TempPathFactory, tiny: Tiny
) -> None:
    with build_tiny(tmp_path_factory.mktemp("next") / "w.duckdb", tiny) as warehouse:
        expected = slow_next_tokens(warehouse)
        found = {
            row[:4]: row[4:]
            for row in warehouse.rows(
                "SELECT layer, head, feature, token_id, n_active, n_followed, n_sequences, base_rate, log_odds,"
                " log_odds_low, log_odds_high FROM output_next_tokens"
            )
        }
        kept = warehouse.rows(
            "SELECT layer, head, feature, token_id FROM output_corpus_tokens ORDER BY layer, head, feature, rank"
        )
    assert found.keys() == expected.keys()
    for at, row in found.items():
        assert row == pytest.approx(expected[at])
    certain = [at for at, row in found.items() if row[5] > 0]
    assert kept == sorted(certain, key=lambda at: (at[:3], -found[at][5], at[3]))


def test_the_interval_of_a_poisson_count_is_not_narrower_than_the_exact_one() -> None:
    """Byar's approximation against the count's own tail probability, at most 0.05% on that side."""
    for s in (3, 5, 10, 40):
        low = s * (1 - 1 / (9 * s) - 3.2905 / (3 * math.sqrt(s))) ** 3
        below = sum(math.exp(-low) * low**i / math.factorial(i) for i in range(s))
        assert 0.00015 < 1 - below < 0.00055


def test_a_token_that_follows_by_chance_is_rarely_certain(
    ingested: Path,
) -> None:
    """Activations moved to other sequences and positions have nothing to do with what follows there."""
    with Warehouse.open(ingested, writable=True) as warehouse:
        n = warehouse.value("SELECT 1 + max(seq_id) FROM tokens")
        warehouse.execute(
            "UPDATE output_activations SET seq_id = (seq_id * 7 + 3) % $n, pos = 1 + (pos + hash(seq_id) % 29) % 31",
            {"n": n},
        )
        certain, tokens = warehouse.rows(
            "SELECT count(*) FILTER (WHERE log_odds_low > 0), count(*) FROM output_next_tokens"
        )[0]
    assert tokens > 500
    assert certain / tokens < 0.02
