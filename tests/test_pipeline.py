"""Ingest: rows, parity with the model's own hooks, resuming and adding."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from attnrules.ingest import IngestProgress, IngestSpec, ingest
from attnrules.ingest.intervene import Laboratory, LaboratorySpec
from attnrules.ingest.sources.corpus import CorpusSpec, token_rows
from attnrules.ingest.sources.model import load_model
from attnrules.warehouse import Warehouse, check
from tests.planted import PlantedModel, reference_rows

FACTS = ("tokens", "input_activations", "output_activations", "attention_sources", "token_scales")
DERIVED = ("saes", "heads", "projections", "input_features", "output_features", "vocabulary", "model")


# --- rows ------------------------------------------------------------------------------------------


def test_rows_are_those_of_the_definition(ingested_once: Path, planted: PlantedModel) -> None:
    with Warehouse.open(ingested_once) as warehouse:
        tokens = warehouse.rows("SELECT token_id FROM tokens ORDER BY seq_id, pos")
    stored = np.array(tokens).reshape(-1, planted.seq_len)
    assert stored.tolist() == reference_rows(planted)[:600]


class Letters:
    """A tokenizer whose tokens are the code points of the text."""

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(c) for c in text] for text in texts]}


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(False, [[0, 97, 98], [0, 100, 101]]), (True, [[0, 97, 98], [0, 100, 101], [0, 103, 104]])],
)
def test_long_documents_are_truncated_unless_kept(keep: bool, expected: list[list[int]]) -> None:
    spec = CorpusSpec("", seq_len=3, keep_long_documents=keep)
    texts = ["", "a", "abcdefghi"]
    rows = token_rows(texts, Letters(), bos_token_id=0, n_ctx=7, spec=spec)
    assert [row.tolist() for row in rows] == expected


# --- parity ----------------------------------------------------------------------------------------


def random_gpt2(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=48, n_positions=64, n_embd=24, n_layer=2, n_head=4, bos_token_id=47)
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    model.save_pretrained(folder)


def random_llama(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=48,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        max_position_embeddings=64,
        initializer_range=0.4,
        bos_token_id=47,
        eos_token_id=47,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def random_qwen2(folder: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=48,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.4,
        bos_token_id=47,
        eos_token_id=47,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def random_sae(folder: Path, hook_name: str, head: int | None, d_in: int, d_sae: int) -> None:
    folder.mkdir(parents=True)
    decoder = torch.randn(d_sae, d_in) / d_in**0.5
    weights = {
        "W_enc": decoder.T.contiguous(),
        "W_dec": decoder,
        "b_enc": torch.randn(d_sae) * 0.1,
        "b_dec": torch.randn(d_in) * 0.1,
    }
    save_file(weights, folder / "sae_weights.safetensors")
    config = {
        "architecture": "topk",
        "k": 4,
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "metadata": {
            "sae_lens_version": "6.54.12",
            "hook_name": hook_name,
            "hook_head_index": head,
            "model_name": folder.parent.parent.name,
        },
    }
    (folder / "cfg.json").write_text(json.dumps(config))


@dataclass(frozen=True)
class Captured:
    """A random model's warehouse, and everything about it read straight from the model."""

    path: Path
    model: Any
    tokens: torch.Tensor
    saes: dict[tuple[int, int | None], Any]
    hooks: dict[str, torch.Tensor]


@pytest.fixture(
    scope="module", params=[random_gpt2, random_llama, random_qwen2], ids=["gpt2", "llama", "qwen2"]
)
def captured(
    request: pytest.FixtureRequest, planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory
) -> Captured:
    from sae_lens import SAE

    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("random")
    folder = home / "model"
    request.param(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((planted.model_dir / name).read_bytes())
    places = [(layer, head) for layer in range(2) for head in (None, 1, 2)]
    for layer, head in places:
        hook_name = f"blocks.{layer}.hook_resid_pre" if head is None else f"blocks.{layer}.attn.hook_z"
        kind = "in" if head is None else "out"
        random_sae(home / kind / f"{layer}-{head}", hook_name, head, 24 if head is None else 6, 20)
    spec = IngestSpec(
        model=str(folder),
        input_sae=str(home / "in"),
        output_sae=str(home / "out"),
        corpus=CorpusSpec(str(planted.corpus_path), seq_len=12),
        n_sequences=10,
        batch_size=3,
        chunk_size=4,
        min_attention=0.0,
        device="cpu",
    )
    ingest(home / "w.duckdb", spec)
    model = load_model(str(folder), revision=None, device="cpu")
    with Warehouse.open(home / "w.duckdb") as warehouse:
        rows = warehouse.rows("SELECT token_id FROM tokens ORDER BY seq_id, pos")
    tokens = torch.tensor(rows).reshape(10, 12)
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(tokens, prepend_bos=False)
    saes = {
        (layer, head): SAE.load_from_disk(home / ("in" if head is None else "out") / f"{layer}-{head}")
        for layer, head in places
    }
    return Captured(home / "w.duckdb", model, tokens, saes, dict(cache.items()))


def dense(path: Path, query: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Spread sparse rows (index columns, value last) over a tensor of zeros."""
    filled = np.zeros(shape)
    with Warehouse.open(path) as warehouse:
        for *index, value in warehouse.rows(query):
            filled[tuple(index)] = value
    return torch.tensor(filled, dtype=torch.float32)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected.detach().float(), atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("layer", [0, 1])
def test_input_activations_are_those_of_the_sae(captured: Captured, layer: int) -> None:
    query = f"SELECT seq_id, pos, feature, activation FROM input_activations WHERE layer = {layer}"
    residual = captured.hooks[f"blocks.{layer}.hook_resid_pre"]
    same(dense(captured.path, query, (10, 12, 20)), captured.saes[layer, None].encode(residual).relu())


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (1, 2)])
def test_output_activations_are_those_of_the_sae(captured: Captured, layer: int, head: int) -> None:
    query = (
        "SELECT seq_id, pos, feature, activation FROM output_activations"
        f" WHERE layer = {layer} AND head = {head}"
    )
    z = captured.hooks[f"blocks.{layer}.attn.hook_z"].reshape(10, 12, 4, 6)[:, :, head]
    same(dense(captured.path, query, (10, 12, 20)), captured.saes[layer, head].encode(z).relu())


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (1, 2)])
def test_attention_is_the_pattern_of_the_model(captured: Captured, layer: int, head: int) -> None:
    query = (
        "SELECT seq_id, query_pos, key_pos, weight FROM attention_sources"
        f" WHERE layer = {layer} AND head = {head}"
    )
    pattern = captured.hooks[f"blocks.{layer}.attn.hook_pattern"][:, head]
    same(dense(captured.path, query, (10, 12, 12)), pattern)


@pytest.mark.parametrize("layer", [0, 1])
def test_scales_are_those_of_the_layer_norm(captured: Captured, layer: int) -> None:
    query = f"SELECT seq_id, pos, ln_scale FROM token_scales WHERE layer = {layer}"
    scale = captured.hooks[f"blocks.{layer}.ln1.hook_scale"].squeeze(-1)
    same(dense(captured.path, query, (10, 12)), scale)


def rotated(vectors: torch.Tensor, base: float = 10_000.0) -> torch.Tensor:
    """Rotate [batch, pos, d_head] as rotary position embeddings do: pairs (i, i + d_head / 2)."""
    half = vectors.shape[-1] // 2
    angles = torch.arange(vectors.shape[1])[:, None] / base ** (torch.arange(half) / half)
    first, second = vectors[..., :half], vectors[..., half:]
    return torch.cat(
        [
            first * angles.cos() - second * angles.sin(),
            second * angles.cos() + first * angles.sin(),
        ],
        dim=-1,
    )


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (1, 2)])
def test_attention_from_features_follows_the_formula(captured: Captured, layer: int, head: int) -> None:
    config = captured.model.bridge.cfg
    sae, weights = captured.saes[layer, None], captured.model.head_weights(layer, head)
    x = sae.decode(sae.encode(captured.hooks[f"blocks.{layer}.hook_resid_pre"]))
    if config.normalization_type.startswith("LN"):
        x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + config.eps).sqrt()
    queries, keys = x @ weights.W_Q + weights.b_Q, x @ weights.W_K + weights.b_K
    if config.positional_embedding_type == "rotary":
        queries, keys = rotated(queries), rotated(keys)
    logits = queries @ keys.mT / 6**0.5
    expected = logits.masked_fill(~torch.ones(12, 12).tril().bool(), -torch.inf).softmax(-1)
    query = (
        "SELECT seq_id, query_pos, key_pos, weight_from_features FROM attention_sources"
        f" WHERE layer = {layer} AND head = {head}"
    )
    same(dense(captured.path, query, (10, 12, 12)), expected)


def test_a_perfect_reconstruction_gives_the_attention_of_the_model(ingested_once: Path) -> None:
    with Warehouse.open(ingested_once) as warehouse:
        assert warehouse.value("SELECT max(abs(weight - weight_from_features)) FROM attention_sources") < 1e-5


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (1, 2)])
@pytest.mark.parametrize(("column", "weight"), [("key", "W_K"), ("query", "W_Q"), ("value", "W_V")])
def test_projections_are_decoder_rows_through_the_head(
    captured: Captured, layer: int, head: int, column: str, weight: str
) -> None:
    attn = captured.model.bridge.blocks[layer].attn
    matrix = getattr(attn, weight)
    expanded = matrix.repeat_interleave(4 // matrix.shape[0], dim=0)[head]
    with Warehouse.open(captured.path) as warehouse:
        rows = warehouse.rows(
            f"SELECT {column}_vector FROM projections WHERE layer = {layer} AND head = {head} ORDER BY feature"
        )
    same(torch.tensor([row[0] for row in rows]), captured.saes[layer, None].W_dec @ expanded)


def test_the_preactivation_is_what_encoder_and_bias_read_off_z(captured: Captured) -> None:
    sae, z = captured.saes[0, 1], captured.hooks["blocks.0.attn.hook_z"].reshape(10, 12, 4, 6)[:, :, 1]
    with Warehouse.open(captured.path) as warehouse:
        rows = warehouse.rows(
            "SELECT encoder, preactivation_bias FROM output_features WHERE layer = 0 AND head = 1 ORDER BY feature"
        )
    encoder = torch.tensor([row[0] for row in rows])
    bias = torch.tensor([row[1] for row in rows], dtype=torch.float32)
    same(z @ encoder.T + bias, (z - sae.b_dec) @ sae.W_enc + sae.b_enc)


def test_a_random_model_leaves_a_sound_warehouse(captured: Captured) -> None:
    with Warehouse.open(captured.path) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []


# --- changed sequences -----------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (1, 2)])
@pytest.mark.parametrize("batch_size", [2, 32])
def test_a_laboratory_reads_what_the_model_does(
    captured: Captured, layer: int, head: int, batch_size: int
) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 47, (9, 12))
    trials = {
        "tokens": tokens,
        "query_pos": rng.integers(1, 12, 9),
        "feature": rng.integers(0, 20, 9),
        "probe": rng.integers(0, 20, 9),
    }
    before = np.arange(12) <= trials["query_pos"][:, None]
    # The first trial has neither keys nor changed positions.
    for name in ("keys", "changed"):
        trials[name] = (rng.random((9, 12)) < 0.5) & before & (np.arange(9) > 0)[:, None]
    with Warehouse.open(captured.path) as warehouse:
        laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu", batch_size=batch_size))
    found = laboratory.measure(layer, head, trials)
    with torch.no_grad():
        _, cache = captured.model.bridge.run_with_cache(torch.tensor(tokens), prepend_bos=False)
    z = cache[f"blocks.{layer}.attn.hook_z"].reshape(9, 12, 4, 6)
    encoded = captured.saes[layer, None].encode(cache[f"blocks.{layer}.hook_resid_pre"])
    for n in range(9):
        q = trials["query_pos"][n]
        row = cache[f"blocks.{layer}.attn.hook_pattern"][n, head, q].detach().numpy()
        active = captured.saes[layer, head].encode(z[n, q, head][None])[0, trials["feature"][n]]
        expected = [active.item()]
        expected += [
            row[trials[name][n]].sum() if trials[name][n].any() else np.nan for name in ("keys", "changed")
        ]
        probed = encoded[n, torch.tensor(trials["changed"][n]), trials["probe"][n]]
        expected.append(probed.mean().item() if trials["changed"][n].any() else np.nan)
        names = ("activation", "attention_to_key", "attention_to_changed", "probe_activation")
        measured = [found[name][n] for name in names]
        assert measured == pytest.approx(expected, rel=2e-4, abs=2e-5, nan_ok=True)


def test_the_token_of_an_input_feature_is_the_one_whose_embedding_excites_it_most(captured: Captured) -> None:
    with Warehouse.open(captured.path) as warehouse:
        laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
    weights = captured.model.bridge.original_model.state_dict()
    encoder = captured.saes[0, None].W_enc.detach()
    tokens = captured.model.bridge.W_E.detach() @ encoder
    is_position = [name for name in weights if "wpe" in name and "weight" in name]
    assert bool(is_position) == (captured.model.facts()["architecture"] == "GPT2LMHeadModel")
    excluded = 0
    for feature, found in enumerate(laboratory.exciting_tokens(0, np.arange(20))):
        scores = tokens[:, feature].tolist()
        scores[47] = -np.inf
        best = int(np.argmax(scores))
        by_position = [float((weights[name] @ encoder[:, feature]).max()) for name in is_position]
        if by_position and max(by_position) > scores[best]:
            assert found == ()
            excluded += 1
        else:
            assert found == (best,)
    assert bool(excluded) == bool(is_position)


# --- resuming and adding ---------------------------------------------------------------------------


def assert_equal_tables(one: Path, other: Path, tables: tuple[str, ...]) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{one}' AS one (READ_ONLY)")
        connection.execute(f"ATTACH '{other}' AS other (READ_ONLY)")
        for table in tables:
            for left, right in (("one", "other"), ("other", "one")):
                difference = connection.execute(
                    f"SELECT count(*) FROM (FROM {left}.{table} EXCEPT ALL FROM {right}.{table})"
                ).fetchall()
                assert difference == [(0,)], (table, left)


def stop_after(n_sequences: int) -> Callable[[IngestProgress], None]:
    def report(progress: IngestProgress) -> None:
        if progress.done > n_sequences:
            raise KeyboardInterrupt

    return report


@pytest.fixture(scope="module")
def small(planted_spec: IngestSpec) -> IngestSpec:
    return replace(planted_spec, n_sequences=96, chunk_size=32, batch_size=32, min_attention=0.01)


@pytest.fixture(scope="module")
def whole(small: IngestSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.duckdb"
    ingest(path, small)
    return path


@pytest.mark.parametrize("n_sequences", [0, 32, 64])
def test_an_interrupted_ingest_goes_on_to_the_same_result(
    small: IngestSpec, whole: Path, tmp_path: Path, n_sequences: int
) -> None:
    path = tmp_path / "w.duckdb"
    with pytest.raises(KeyboardInterrupt):
        ingest(path, small, stop_after(n_sequences))
    with Warehouse.open(path) as warehouse:
        n_stored = warehouse.value("SELECT coalesce(sum(n_seqs), 0) FROM chunks")
        assert [result for result in check(warehouse) if result.n_problems] == []
    assert ingest(path, small).n_captured == 96 - n_stored
    assert_equal_tables(path, whole, FACTS + DERIVED)
    with Warehouse.open(path) as warehouse:
        assert warehouse.rows("SELECT status FROM runs ORDER BY run_id") == [("interrupted",), ("done",)]


def test_sequences_are_added(small: IngestSpec, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    ingest(path, replace(small, n_sequences=40))
    assert ingest(path, small).n_captured == 56
    assert_equal_tables(path, whole, FACTS + DERIVED)


def test_layers_and_heads_are_added(small: IngestSpec, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    ingest(path, replace(small, layers=(0,), heads=(1,)))
    ingest(path, replace(small, layers=(0, 1), heads=(0, 1)))
    ingest(path, small)
    assert_equal_tables(path, whole, FACTS + DERIVED)
    with Warehouse.open(path) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []


def test_the_same_ingest_again_captures_nothing(small: IngestSpec, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(whole.read_bytes())
    assert ingest(path, small).n_captured == 0
    assert_equal_tables(path, whole, FACTS + DERIVED)


def test_a_batch_too_large_for_the_device_is_halved(
    small: IngestSpec, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attnrules.ingest.capture.forward import Capture

    run = Capture.run

    def run_small(self: Capture, tokens: Any, *rest: Any) -> Any:
        if len(tokens) > 10:
            raise torch.OutOfMemoryError("out of memory")
        return run(self, tokens, *rest)

    monkeypatch.setattr(Capture, "run", run_small)
    ingest(tmp_path / "w.duckdb", small)
    assert_equal_tables(tmp_path / "w.duckdb", whole, FACTS)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM input_activations WHERE seq_id = 5",
        "INSERT INTO tokens FROM tokens LIMIT 1",
        "UPDATE attention_sources SET weight = 2 WHERE seq_id = 3",
        "UPDATE output_activations SET activation = -1 WHERE seq_id = 3",
        "UPDATE input_activations SET feature = 4000 WHERE seq_id = 3",
        "DELETE FROM projections WHERE feature = 3",
        "UPDATE chunks SET first_seq = first_seq + 1 WHERE chunk_id = 1",
    ],
)
def test_check_finds_damage(whole: Path, tmp_path: Path, attnrules: Any, damage: str) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(whole.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute(damage)
    outcome = attnrules("check", path)
    assert outcome.code == 1
    assert "FAIL" in outcome.out


def test_check_passes_a_sound_warehouse(whole: Path, attnrules: Any) -> None:
    assert attnrules("check", whole).code == 0
