"""Models beyond GPT-2: what is stored is what their own hooks say, and what cannot be stored is refused."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.capture.forward import Capture
from attnrules.ingest.capture.rotation import logits_are_of_weights
from attnrules.ingest.embeddings import position_rows, token_rows
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.ingest.sources.model import Model, load_model
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse, check
from tests.planted import PlantedModel
from tests.test_pipeline import random_llama, random_sae, rotated

TOKENS = {"vocab_size": 48, "bos_token_id": 47, "eos_token_id": 47}
SHAPE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
GROUPED = {**TOKENS, **SHAPE, "num_key_value_heads": 2, "intermediate_size": 32}


def build(architecture: str) -> Any:
    """Build a tiny model with random weights of an architecture, from its transformers configuration."""
    import transformers as t

    builders: dict[str, Callable[[], Any]] = {
        "gpt-2": lambda: t.GPT2LMHeadModel(
            t.GPT2Config(**TOKENS, n_positions=64, n_embd=24, n_layer=2, n_head=4)
        ),
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**GROUPED, head_dim=6)),
        "gpt-neox": lambda: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**TOKENS, **SHAPE, intermediate_size=32)),
        "gpt-j": lambda: t.GPTJForCausalLM(
            t.GPTJConfig(**TOKENS, n_positions=64, n_embd=24, n_layer=2, n_head=4, rotary_dim=6)
        ),
        "gpt-neo": lambda: t.GPTNeoForCausalLM(
            t.GPTNeoConfig(
                **TOKENS,
                hidden_size=24,
                num_layers=2,
                num_heads=4,
                max_position_embeddings=64,
                attention_types=[[["global"], 2]],
                intermediate_size=32,
            )
        ),
        "opt": lambda: t.OPTForCausalLM(
            t.OPTConfig(**TOKENS, **SHAPE, ffn_dim=32, word_embed_proj_dim=24, activation_function="gelu")
        ),
        "falcon": lambda: t.FalconForCausalLM(
            t.FalconConfig(**TOKENS, hidden_size=24, num_hidden_layers=2, num_attention_heads=4)
        ),
        "gemma-2": lambda: t.Gemma2ForCausalLM(t.Gemma2Config(**GROUPED, head_dim=6)),
        "cohere": lambda: t.CohereForCausalLM(t.CohereConfig(**GROUPED, pad_token_id=0)),
        "cohere-2": lambda: t.Cohere2ForCausalLM(t.Cohere2Config(**GROUPED, head_dim=6, pad_token_id=0)),
        "bloom": lambda: t.BloomForCausalLM(t.BloomConfig(**TOKENS, hidden_size=24, n_layer=2, n_head=4)),
        "olmo, values clipped": lambda: t.OlmoForCausalLM(t.OlmoConfig(**GROUPED, clip_qkv=0.3)),
        "glm": lambda: t.GlmForCausalLM(t.GlmConfig(**GROUPED, head_dim=6, pad_token_id=0)),
        "opt, norms behind": lambda: t.OPTForCausalLM(
            t.OPTConfig(**TOKENS, **SHAPE, ffn_dim=32, word_embed_proj_dim=24, do_layer_norm_before=False)
        ),
        "gemma-4": lambda: t.Gemma4ForCausalLM(t.Gemma4TextConfig(**GROUPED, head_dim=6)),
        "mamba": lambda: t.MambaForCausalLM(
            t.MambaConfig(vocab_size=48, hidden_size=24, num_hidden_layers=2, state_size=4)
        ),
        "t5": lambda: t.T5ForConditionalGeneration(
            t.T5Config(vocab_size=48, d_model=24, d_kv=6, d_ff=32, num_layers=2, num_heads=4)
        ),
        "bert": lambda: t.BertForMaskedLM(t.BertConfig(vocab_size=48, intermediate_size=32, **SHAPE)),
        "olmo-2": lambda: t.Olmo2ForCausalLM(t.Olmo2Config(**{**GROUPED, "num_key_value_heads": 4})),
        "deepseek-3": lambda: t.DeepseekV3ForCausalLM(
            t.DeepseekV3Config(
                **{**GROUPED, "num_key_value_heads": 4},
                moe_intermediate_size=8,
                n_routed_experts=4,
                num_experts_per_tok=2,
                n_group=1,
                topk_group=1,
                kv_lora_rank=8,
                q_lora_rank=8,
                qk_rope_head_dim=4,
                qk_nope_head_dim=4,
                v_head_dim=6,
                first_k_dense_replace=2,
            )
        ),
    }
    return builders[architecture]()


def save(model: Any, folder: Path, planted: PlantedModel) -> None:
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    add_tokenizer(folder, planted)


def add_tokenizer(folder: Path, planted: PlantedModel) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(planted.model_dir / name, folder / name)


def spec_for(home: Path, planted: PlantedModel, n_sequences: int, d_sae: int = 20) -> IngestSpec:
    """Make SAEs for heads 1 and 2 of both layers beside the model, and say how to ingest it."""
    for layer in range(2):
        random_sae(home / "in" / str(layer), f"blocks.{layer}.hook_resid_pre", None, 24, d_sae)
        for head in (1, 2):
            random_sae(home / "out" / f"{layer}-{head}", f"blocks.{layer}.attn.hook_z", head, 6, d_sae)
    return IngestSpec(
        model=str(home / "model"),
        input_sae=str(home / "in"),
        output_sae=str(home / "out"),
        corpus=CorpusSpec(str(planted.corpus_path), seq_len=12),
        n_sequences=n_sequences,
        min_attention=0.0,
        device="cpu",
    )


# --- architectures that work -----------------------------------------------------------------------


@dataclass(frozen=True)
class Ingested:
    """A warehouse of a random model, and the model's hooks on the stored tokens."""

    path: Path
    model: Model
    hooks: dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=["gpt-neox", "gpt-j", "gpt-neo", "opt", "falcon", "gemma-2"])
def ingested(
    request: pytest.FixtureRequest, planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory
) -> Ingested:
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("architecture")
    save(build(request.param), home / "model", planted)
    ingest(home / "w.duckdb", spec_for(home, planted, 6))
    model = load_model(str(home / "model"), revision=None, device="cpu")
    with Warehouse.open(home / "w.duckdb") as warehouse:
        tokens = torch.tensor(warehouse.rows("SELECT token_id FROM tokens ORDER BY seq_id, pos"))
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(tokens.reshape(6, 12), prepend_bos=False)
    return Ingested(home / "w.duckdb", model, dict(cache.items()))


def test_an_architecture_leaves_a_sound_warehouse_with_its_own_attention(ingested: Ingested) -> None:
    with Warehouse.open(ingested.path) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []
        rows = warehouse.rows(
            "SELECT seq_id, query_pos, key_pos, weight FROM attention_sources WHERE layer = 1 AND head = 2"
        )
    pattern = torch.zeros(6, 12, 12)
    for seq_id, query, key, weight in rows:
        pattern[seq_id, query, key] = weight
    torch.testing.assert_close(pattern, ingested.hooks["blocks.1.attn.hook_pattern"][:, 2])


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_head_weights_give_the_vectors_of_the_hooks(ingested: Ingested, name: str) -> None:
    model, hooks = ingested.model, ingested.hooks
    with torch.no_grad():
        normalized = model.bridge.blocks[1].ln1(hooks["blocks.1.hook_resid_pre"])
    vectors = hooks[f"blocks.1.attn.hook_{name}"].reshape(6, 12, -1, 6)
    for head in range(4):
        weights = model.head_weights(1, head)
        found = normalized @ getattr(weights, f"W_{name.upper()}") + getattr(weights, f"b_{name.upper()}")
        expected = vectors[:, :, head * vectors.shape[2] // 4]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_attention_scale_is_that_of_the_model(ingested: Ingested) -> None:
    model, hooks = ingested.model, ingested.hooks
    query, key = (hooks[f"blocks.1.attn.hook_{name}"].reshape(6, 12, -1, 6)[:, :, 0] for name in "qk")
    pattern = hooks["blocks.1.attn.hook_pattern"][:, 0]
    if str(model.bridge.cfg.positional_embedding_type) == "standard":
        logits = query @ key.mT / model.attn_scale(1)
        masked = logits.masked_fill(~torch.ones(12, 12).tril().bool(), -torch.inf)
        torch.testing.assert_close(masked.softmax(-1), pattern, atol=1e-5, rtol=1e-4)
    else:
        expected = {"Gemma2ForCausalLM": 16.0}.get(model.bridge.cfg.architecture, math.sqrt(6))
        assert model.attn_scale(1) == pytest.approx(expected)


@pytest.mark.parametrize("architecture", ["gpt-2", "opt", "bloom", "gemma-2"])
def test_what_tokens_and_positions_add_is_what_enters_the_first_layer(
    planted: PlantedModel, tmp_path: Path, architecture: str
) -> None:
    """OPT keeps rows for padding before its positions, Bloom normalises its embeddings, Gemma scales them."""
    torch.manual_seed(0)
    own = build(architecture)
    save(own, tmp_path, planted)
    model = load_model(str(tmp_path), revision=None, device="cpu")
    tokens, positions = token_rows(model), position_rows(model)
    ids = torch.randint(len(tokens), (3, 12))
    with torch.no_grad():
        entering = own.eval()(ids, output_hidden_states=True).hidden_states[0]
    added = tokens[ids] + (0 if positions is None else positions[:12])
    # Processing centres what is written; SAEs read either.
    found, expected = (x - x.mean(-1, keepdim=True) for x in (added, entering))
    torch.testing.assert_close(found, expected)


def test_logits_that_fall_with_the_distance_are_those_of_the_weights(
    planted: PlantedModel, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save(build("bloom"), tmp_path, planted)
    model = load_model(str(tmp_path), revision=None, device="cpu")
    _, hooks = model.bridge.run_with_cache(torch.arange(12)[None], prepend_bos=False)
    scaled = hooks["blocks.1.hook_resid_pre"][0] / hooks["blocks.1.ln1.hook_scale"][0]
    pattern = hooks["blocks.1.attn.hook_pattern"][0]
    assert logits_are_of_weights(model, 1, scaled, pattern)
    assert not logits_are_of_weights(model, 1, scaled.clamp(-1, 1), pattern)


def test_rounding_does_not_hide_values_that_are_clipped(planted: PlantedModel, tmp_path: Path) -> None:
    """A clip one hundredth below the largest moves it no more than bfloat16 does."""
    torch.manual_seed(0)
    own = build("olmo, values clipped")
    save(own, tmp_path, planted)
    tokens = torch.arange(24).reshape(2, 12)
    seen: list[float] = []
    for layer in own.model.layers:
        layer.self_attn.v_proj.register_forward_hook(lambda *given: seen.append(float(given[2].abs().max())))
    with torch.no_grad():
        own.eval()(tokens)
    own.config.clip_qkv = 0.99 * seen[0]
    own.save_pretrained(tmp_path)
    rounded = Capture(
        load_model(str(tmp_path), revision=None, device="cpu"), [], min_attention=0.0, dtype="bfloat16"
    )
    with pytest.raises(AttnRulesError, match="is not their attention times what W_V makes of"):
        rounded.verify(tokens.numpy(), (0,))


def test_rounding_is_no_reason_to_refuse_a_model(planted: PlantedModel, tmp_path: Path) -> None:
    """Sharp attention in bfloat16 is far from what the weights give, and is looked at in float32."""
    torch.manual_seed(0)
    sharp = build("gpt-2")
    save(sharp, tmp_path, planted)
    for parameter in sharp.parameters():
        torch.nn.init.normal_(parameter)
    sharp.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), revision=None, device="cpu")
    capture = Capture(model, [], min_attention=0.0, dtype="bfloat16")
    assert capture.verify(torch.randint(40, (2, 12)).numpy(), [0, 1]) == {}


# --- architectures that do not ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        ("mamba", "MambaForCausalLM does not expose ln1.hook_scale, attn.hook_pattern"),
        ("t5", "T5ForConditionalGeneration does not expose"),
        ("cohere", "in layer 0 of CohereForCausalLM is not that of transformers (they differ by 0."),
        ("cohere-2", "in layer 0 of Cohere2ForCausalLM is not that of transformers (they differ by 0."),
        ("bert", "attends to later positions; only decoders"),
        ("olmo-2", "is not a function of its layer norm's output alone"),
        ("deepseek-3", "DeepseekV3ForCausalLM has no projections W_K, W_Q, W_V"),
        ("olmo, values clipped", "layer 0 put out is not their attention times what W_V makes of"),
        ("glm", "layer 0 put out is not their attention times what W_V makes of"),
        ("gemma-4", "Gemma4ForCausalLM does not expose ln1.hook_scale"),
        ("opt, norms behind", "/model: cannot be loaded: Original component not set"),
    ],
)
def test_an_architecture_without_the_hooks_is_refused_by_name(
    attnrules: Any, planted: PlantedModel, tmp_path: Path, architecture: str, names: str
) -> None:
    torch.manual_seed(0)
    save(build(architecture), tmp_path / "model", planted)
    spec = spec_for(tmp_path, planted, 6)
    words = ["--model", spec.model, "--input-sae", spec.input_sae, "--output-sae", spec.output_sae]
    words += ["--corpus", spec.corpus.source, "--seq-len", "12", "--sequences", "6", "--device", "cpu"]
    outcome = attnrules("ingest", tmp_path / "w.duckdb", *words)
    complaints = [line for line in outcome.err.splitlines() if line.startswith("attnrules: ")]
    assert (outcome.code, len(complaints)) == (1, 1), outcome.err
    assert complaints[0].startswith("attnrules: model ")
    assert names in complaints[0]
    assert not list(tmp_path.glob("w.duckdb*"))


# --- mining grouped-query and rotary models --------------------------------------------------------


def llama(folder: Path, planted: PlantedModel) -> None:
    random_llama(folder)
    add_tokenizer(folder, planted)


def qwen2(folder: Path, planted: PlantedModel) -> None:
    """Qwen's tokenizer splits by bytes whatever its file says, so it gets a vocabulary of such pieces."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    pieces = Tokenizer(BPE())
    pieces.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(vocab_size=120, special_tokens=["<|endoftext|>"], show_progress=False)
    pieces.train([str(planted.corpus_path)], trainer)
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=pieces, bos_token=end, eos_token=end).save_pretrained(folder)
    config = Qwen2Config(**{**GROUPED, "vocab_size": 128, "initializer_range": 0.4})
    Qwen2ForCausalLM(config).save_pretrained(folder)


def most_attended(sources: list[tuple[int, int, int, float]]) -> dict[tuple[int, int], list[int]]:
    """The fewest distances that hold half of each head's attention, at most 8."""
    total: dict[tuple[int, int], dict[int, float]] = {}
    for layer, head, distance, weight in sources:
        of_head = total.setdefault((layer, head), {})
        of_head[distance] = of_head.get(distance, 0.0) + weight
    found = {}
    for at, by_distance in total.items():
        order = sorted(by_distance, key=lambda distance: -by_distance[distance])
        before = [sum(by_distance[d] for d in order[:place]) for place in range(len(order))]
        found[at] = [
            d for d, held in zip(order, before, strict=True) if held < sum(by_distance.values()) / 2
        ][:8]
    return found


def largest_scores(keys: torch.Tensor, queries: torch.Tensor, distances: list[int]) -> torch.Tensor:
    """The largest score of each key with each query, the key at a position and the query a distance on."""
    at = [
        rotated(keys[:, None])[:, 0] @ rotated(queries[:, None].repeat(1, distance + 1, 1))[:, -1].T
        for distance in distances
    ]
    return torch.stack(at).amax(dim=0)


@pytest.mark.parametrize("make", [llama, qwen2])
def test_rules_of_a_grouped_model_are_ranked_by_its_raw_weights(
    planted: PlantedModel, tmp_path: Path, make: Callable[[Path, PlantedModel], None]
) -> None:
    from sae_lens import SAE
    from safetensors.torch import load_file

    torch.manual_seed(0)
    make(tmp_path / "model", planted)
    spec = spec_for(tmp_path, planted, 120, d_sae=96)
    ingest(tmp_path / "w.duckdb", spec)
    # Judged on nothing: what is looked at are the rules.
    options = SkipgramSpec(
        method="magnitude",
        num_values=5,
        num_queries=4,
        n_features=None,
        examples_per_split=2,
        example_sets=(),
        baselines=False,
    )
    with Warehouse.open(tmp_path / "w.duckdb", writable=True) as warehouse:
        mine_skipgrams(warehouse, options)
        rules = warehouse.rows(
            "SELECT layer, head, feature, key_feature, query_feature, attn_score, value_score FROM rules"
            " ORDER BY layer, head, feature, rank"
        )
        sources = warehouse.rows(
            "SELECT layer, head, query_pos - key_pos, weight FROM attention_sources WHERE key_pos > 0"
        )
    distances = most_attended(sources)
    # The norms' weights are 1 and nothing is folded in: the file's matrices are the head's own.
    weights = load_file(tmp_path / "model" / "model.safetensors")
    mined: dict[tuple[int, int, int], list[tuple[int, int, float, float]]] = {}
    for layer, head, feature, *rule in rules:
        mined.setdefault((layer, head, feature), []).append(tuple(rule))
    assert {(layer, head) for layer, head, _ in mined} == {(0, 1), (0, 2), (1, 1), (1, 2)}
    # What a head's rules share is read once, not for each of its features.
    for layer, head in {(layer, head) for layer, head, _ in mined}:
        decoder = SAE.load_from_disk(tmp_path / "in" / str(layer)).W_dec.double()
        encoders = SAE.load_from_disk(tmp_path / "out" / f"{layer}-{head}").W_enc.double()
        attn = f"model.layers.{layer}.self_attn"
        group = head // 2  # 4 query heads share 2 key/value heads
        query, key, value = (
            weights[f"{attn}.{name}_proj.weight"].double()[6 * at : 6 * at + 6].T
            for name, at in (("q", head), ("k", group), ("v", group))
        )
        S = largest_scores(decoder @ key, decoder @ query, distances[layer, head]).tolist()
        best_queries = [sorted(range(96), key=lambda j, row=row: -row[j])[:4] for row in S]
        for feature in (f for of_layer, of_head, f in mined if (of_layer, of_head) == (layer, head)):
            found = mined[layer, head, feature]
            V = (decoder @ value @ encoders[:, feature]).tolist()
            keys = sorted(range(96), key=lambda i: -V[i])[:5]
            raising = ((i, j) for i in keys if V[i] > 0 for j in best_queries[i])
            ranked = sorted(raising, key=lambda p: -(S[p[0]][p[1]] + math.log(V[p[0]])))
            assert [(i, j) for i, j, _, v in found if v > 0] == ranked
            for i, j, s, v in found:
                assert s == pytest.approx(S[i][j], abs=1e-4)
                assert v == pytest.approx(V[i], abs=1e-5)
