"""A GGUF file is the model of the folder with the same weights; what is not restored is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.intervene import Laboratory, LaboratorySpec
from attnrules.ingest.plan import plan
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.ingest.sources.gguf_files import restore
from attnrules.ingest.sources.model import Model, configuration_of, load_model
from attnrules.warehouse import Warehouse
from tests.test_saes import write_pair

OPTIONS = {"architecture": "topk", "k": 4}
DEMO = Path(__file__).parent.parent / "attnrules/demo/weights/attnrules-demo"
TEXT = "In 1999, he'd said: the file is read 12 times.\n\n  def f(x):\treturn Cafe\u0301 x2\n"
SHAPE = {
    "vocab_size": 8192,
    "hidden_size": 24,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "rms_norm_eps": 1e-5,
}
SPLITS = {"llama": "smollm", "qwen2": "qwen2", "qwen3": "gpt-2"}
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
# Names of tensors in a file, in the words of llama.cpp's specification.
TENSORS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def random_folder(folder: Path, architecture: str, *, tied: bool = True) -> Path:
    """Write a tiny model with random weights and a byte-level tokenizer."""
    import transformers as t
    from tokenizers import Regex, Tokenizer
    from tokenizers.normalizers import NFC

    torch.manual_seed(0)
    shape = {**SHAPE, "tie_word_embeddings": tied}
    models: dict[str, Callable[[], Any]] = {
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**shape, head_dim=6, rope_theta=500.0)),
        "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**shape)),
        "qwen3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(**shape, head_dim=12)),
    }
    model = models[architecture]()
    for parameter in model.parameters():
        parameter.data = parameter.data + torch.randn_like(parameter) / 8  # biases begin at zero
    model.save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    if architecture == "llama":
        tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
        )
    if architecture == "qwen2":
        tokenizer.normalizer = NFC()
        tokenizer.pre_tokenizer = Sequence(
            [
                Split(Regex(QWEN2_SPLIT), behavior="isolated"),
                ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_bytes((DEMO / "tokenizer_config.json").read_bytes())
    return folder


def interleaved(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Reorder the rows of each head as llama.cpp rotates them: pairs side by side, not half a head apart."""
    halves = weight.reshape(n_heads, 2, -1, weight.shape[-1])
    return np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(weight.shape)


def write_gguf(
    path: Path,
    folder: Path,
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    change: Callable[[GGUFWriter], Any] = lambda writer: None,
    without: str | None = None,
    split: str | None = None,
    architecture: str | None = None,
) -> Path:
    """Write the model of a folder as GGUF; tensors that divide into blocks are of `kind`. `change` adds to the file."""
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    kept = config["model_type"]
    writer = GGUFWriter(path, architecture or kept)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    add_tokenizer(writer, folder, split or SPLITS[kept])
    for name, weight in load_file(folder / "model.safetensors").items():
        if kept == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            weight = interleaved(weight, heads)
        if without is None or without not in name:
            quantized = GGMLQuantizationType.F32 if weight.shape[-1] % 32 else kind
            writer.add_tensor(gguf_name(name), quants.quantize(weight, quantized), raw_dtype=quantized)
    change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_name(name: str) -> str:
    stem, suffix = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{TENSORS[part]}.{suffix}"
    return f"{TENSORS[stem]}.{suffix}"


def add_tokenizer(writer: GGUFWriter, folder: Path, split: str) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    pieces = sorted(content["model"]["vocab"], key=content["model"]["vocab"].get)
    special = {token["content"] for token in content["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(pieces)
    writer.add_token_types([3 if piece in special else 1 for piece in pieces])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in content["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)


def load(path: Path) -> Model:
    return load_model(str(path), revision=None, device="cpu")


@pytest.fixture(scope="module", params=[("llama", True), ("qwen2", True), ("qwen3", False)])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """The model of a folder, and the same of a GGUF file of float32 weights."""
    architecture, tied = request.param
    folder = random_folder(tmp_path_factory.mktemp("gguf") / "model", architecture, tied=tied)
    return load(folder), load(write_gguf(folder.parent / "model.gguf", folder))


def test_restored_weights_are_those_of_the_folder(pair: tuple[Model, Model]) -> None:
    folder, file = pair
    assert file.sha256 == folder.sha256
    ids = torch.arange(60)[None]
    apart = folder.bridge(ids, prepend_bos=False) - file.bridge(ids, prepend_bos=False)
    assert float(apart.detach().abs().max()) == 0


def test_restored_configuration_is_that_of_the_folder(pair: tuple[Model, Model]) -> None:
    folder, file = pair
    assert json.loads(file.configuration) == json.loads(folder.configuration)


def test_configuration_of_a_plan_is_that_of_the_model(llama: Path, tmp_path: Path) -> None:
    planned = configuration_of(str(write_gguf(tmp_path / "m.gguf", llama)), None)
    kept = json.loads((llama / "config.json").read_text())
    names = ("num_hidden_layers", "num_attention_heads", "hidden_size", "head_dim", "vocab_size")
    assert {name: getattr(planned, name) for name in names} == {name: kept[name] for name in names}


def test_restored_tokenizer_cuts_text_as_that_of_the_folder(pair: tuple[Model, Model]) -> None:
    folder, file = pair
    cut = [model.bridge.tokenizer(TEXT, add_special_tokens=False)["input_ids"] for model in pair]
    assert cut[0] == cut[1]
    assert file.vocabulary() == folder.vocabulary()
    assert file.bos_token_id == folder.bos_token_id


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny llama. Not to be written to."""
    return random_folder(tmp_path_factory.mktemp("llama") / "model", "llama")


def test_blocks_are_restored_as_they_round(llama: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    name, kind = "model.layers.1.mlp.down_proj.weight", GGMLQuantizationType.Q8_0
    model, _ = restore(write_gguf(tmp_path / "m.gguf", llama, kind=kind))
    stored = load_file(llama / "model.safetensors")[name]
    rounded = quants.dequantize(quants.quantize(stored, kind), kind)
    assert np.abs(rounded - stored).max() > 0
    np.testing.assert_array_equal(model.get_parameter(name).detach().numpy(), rounded)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def beheaded(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architecture": "mamba"}, "architecture mamba are not supported"),
    "split": ({"split": "llama-bpe"}, "its tokenizer (gpt2, llama-bpe) is not restored exactly"),
    "scaled rotation": (
        {"change": lambda w: w.add_rope_scaling_factor(8.0)},
        "llama.rope.scaling.factor 8.0, which is not restored",
    ),
    "narrow rotation": ({"change": lambda w: w.add_rope_dimension_count(4)}, "have the widths 4, 6"),
    "frequencies": (
        {"change": lambda w: w.add_tensor("rope_freqs.weight", np.ones(3, np.float32))},
        "its tensors hold",
    ),
    "a bias": (
        {"change": lambda w: w.add_tensor("blk.0.attn_q.bias", np.ones(24, np.float32))},
        "its tensors hold",
    ),
    "a tensor less": ({"without": "layers.1.mlp.up_proj"}, "its tensors hold"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_restored_is_refused(
    options: dict[str, Any], said: str, llama: Path, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "m.gguf", llama, **options)
    with pytest.raises(AttnRulesError) as refused:
        load(path)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("spoil", [truncated, beheaded])
def test_damaged_file_is_named(spoil: Callable[[Path], None], llama: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", llama)
    spoil(path)
    with pytest.raises(AttnRulesError, match="cannot be read as GGUF"):
        load(path)


def test_file_that_is_no_gguf_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("not a model")
    with pytest.raises(AttnRulesError, match=r"m\.gguf: cannot be read as GGUF"):
        load(tmp_path / "m.gguf")
    (tmp_path / "m.bin").write_text("not a model")
    with pytest.raises(AttnRulesError, match="is a file, but not a GGUF one"):
        load(tmp_path / "m.bin")


def test_missing_package_is_named(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "m.gguf", llama)
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *a: None if name == "gguf" else found(name, *a))
    with pytest.raises(AttnRulesError, match=r"pip install 'attnrules\[gguf\]'"):
        load(path)


@pytest.fixture
def spec(llama: Path, tmp_path: Path) -> IngestSpec:
    inputs, outputs = write_pair(tmp_path, OPTIONS, OPTIONS)
    (tmp_path / "corpus.txt").write_text(TEXT * 200)
    return IngestSpec(
        model=str(write_gguf(tmp_path / "tiny.gguf", llama)),
        input_sae=str(inputs),
        output_sae=str(outputs),
        corpus=CorpusSpec(str(tmp_path / "corpus.txt"), seq_len=16, keep_long_documents=True),
        n_sequences=8,
        device="cpu",
    )


def test_warehouse_of_a_file_goes_on_and_is_read_again(spec: IngestSpec, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    assert plan(path, spec).sources[0][0] == "model tiny.gguf"
    ingest(path, spec)
    ingest(path, replace(spec, n_sequences=12))
    folder = replace(spec, n_sequences=14, model=str(random_folder(tmp_path / "model", "qwen2")))
    with pytest.raises(AttnRulesError, match=r"holds the model tiny\.gguf .* not model"):
        ingest(path, folder)
    with Warehouse.open(path) as warehouse:
        assert warehouse.value("SELECT count(DISTINCT seq_id) FROM tokens") == 12
        # Raises where the model is not the one that was ingested.
        Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
