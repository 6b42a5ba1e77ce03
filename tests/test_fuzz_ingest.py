"""Whatever a configuration and a record say, `ingest` ends in one line or in a warehouse that `check` passes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.planted import CHECKPOINT_NAME, PlantedModel

CONFIGURATIONS = {
    "model": "model/config.json",
    "pieces": "model/tokenizer.json",
    "tokenizer": "model/tokenizer_config.json",
    "input": "input_saes/blocks.0.hook_resid_pre/cfg.json",
    "output": f"output_saes/{CHECKPOINT_NAME.format(layer=0, head=0, version=10)}_cfg.json",
}
# Keys that mean something to a library, though the planted files may lack them.
KEYS = {
    "model": ["n_layer", "n_head", "n_embd", "n_inner", "n_positions", "vocab_size", "layer_norm_epsilon"]
    + ["activation_function", "model_type", "architectures", "scale_attn_weights", "tie_word_embeddings"]
    + ["scale_attn_by_inverse_layer_idx", "bos_token_id", "eos_token_id", "dtype", "torch_dtype", "head_dim"]
    + ["quantization_config", "auto_map", "pad_token_id", "_attn_implementation", "is_decoder"],
    "tokenizer": ["tokenizer_class", "bos_token", "eos_token", "model_max_length", "added_tokens_decoder"]
    + [
        "padding_side",
        "add_bos_token",
        "chat_template",
        "extra_special_tokens",
        "clean_up_tokenization_spaces",
    ],
    "pieces": ["truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor"]
    + ["decoder", "model", "version"],
    "input": ["architecture", "d_in", "d_sae", "dtype", "k", "activation_fn", "activation_fn_kwargs"]
    + ["apply_b_dec_to_input", "normalize_activations", "reshape_activations", "rescale_acts_by_decoder_norm"]
    + ["metadata", "hook_name", "hook_head_index", "device", "jumprelu_init_threshold", "model_name"]
    + ["context_size", "prepend_bos", "model_from_pretrained_kwargs", "threshold", "sae_lens_version"],
    "output": ["architecture", "activation_fn", "activation_fn_kwargs", "k", "d_in", "d_sae", "head", "layer"]
    + ["hook_name", "hook_head_index", "apply_b_dec_to_input", "dtype", "metadata", "model_name", "topk"]
    + ["context_size", "prepend_bos", "model_from_pretrained_kwargs", "normalize_activations", "device"],
}
PARTS = [
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
    {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False},
    {"type": "Replace", "pattern": {"String": ""}, "content": "a"},
    {"type": "Sequence", "normalizers": [], "pretokenizers": [], "decoders": []},
    {"type": "Strip", "strip_left": True, "strip_right": True, "content": " ", "start": 9, "stop": 9},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}},
    {"type": "BPE", "vocab": {"a": 0, "b": 2**31}, "merges": ["a b"]},
    {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"},
    {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 5},
    {"type": "WordPiece", "vocab": {}, "unk_token": "?", "max_input_chars_per_word": 0},
    {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 9},
    {"strategy": {"Fixed": 10**9}, "direction": "Left", "pad_to_multiple_of": 0, "pad_id": 0}
    | {"pad_type_id": 0, "pad_token": "x"},
    [
        {"id": 10**6, "content": "a", "single_word": False, "lstrip": True, "rstrip": True}
        | {"normalized": True, "special": True}
    ],
]
NAMES = ["topk", "standard", "jumprelu", "gated", "relu", "gelu_new", "silu", "layer_norm", "float16", "meta"]
NAMES += [
    "gpt2",
    "llama",
    "gpt_neox",
    "t5",
    "GPT2LMHeadModel",
    "cuda",
    "blocks.0.hook_resid_pre",
    "eager",
    "\x1b[2J\n",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 2, 3, 4, 8, 16, 64, 80, -1, 1_000_000, 2**31, 2**63, 10**400]),
    st.sampled_from([0.0, -1.5, 1e-5, 1e300, float("nan"), float("inf")]),
    st.sampled_from(NAMES),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["k", "0", "metadata", ""]), inner, max_size=2),
    ),
    max_leaves=4,
)
CHANGES = st.sampled_from(sorted(CONFIGURATIONS)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.sampled_from(KEYS[name]),
        st.one_of(st.just(...), VALUES, *([st.sampled_from(PARTS)] * 2 if name == "pieces" else [])),
        st.booleans(),
    )
)
TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from(["<bos>", "\ud800", "\0", "Montreal " * 100, "the a of"])
)
RECORDS = st.one_of(
    st.fixed_dictionaries({"text": st.one_of(TEXTS, VALUES)}).map(json.dumps),
    VALUES.map(json.dumps),
    st.text(max_size=20),
    st.sampled_from(
        ['{"text": "', "[" * 2000, '{"text": "x", "text": 1}', "\N{BYTE ORDER MARK}{}", '{"text": NaN}']
    ),
)


@pytest.fixture(scope="module")
def folder(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model and SAEs of one head, to be changed and put back."""
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(planted.model_dir, folder / "model")
    shutil.copytree(
        planted.input_sae_dir / "blocks.0.hook_resid_pre", folder / "input_saes/blocks.0.hook_resid_pre"
    )
    (folder / "output_saes").mkdir()
    for file in planted.output_sae_dir.glob(f"{CHECKPOINT_NAME.format(layer=0, head=0, version=10)}*"):
        shutil.copy(file, folder / "output_saes")
    shutil.copy(planted.corpus_path, folder / "corpus.jsonl")
    return folder


def changed(content: dict[str, Any], key: str, value: object, inside: bool) -> dict[str, Any]:
    """Return a configuration with a key set, or removed where the value is `...`; also in its metadata."""
    held = content.get("metadata")
    if inside and isinstance(held, dict):
        return {**content, "metadata": changed(held, key, value, inside=False)}
    return {k: v for k, v in {**content, key: value}.items() if v is not ...}


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(CHANGES, max_size=2),
    st.lists(st.tuples(st.integers(0, 12), RECORDS), max_size=2),
)
@example([("model", "layer_norm_epsilon", 10**400, False)], [])
def test_an_ingest_of_anything_ends_in_words_or_whole(
    attnrules: Any, folder: Path, changes: list[tuple[str, str, object, bool]], records: list[tuple[int, str]]
) -> None:
    warehouse = folder / "w.duckdb"
    warehouse.unlink(missing_ok=True)
    files = {
        folder / path: (folder / path).read_bytes() for path in [*CONFIGURATIONS.values(), "corpus.jsonl"]
    }
    try:
        for name, key, value, inside in changes:
            path = folder / CONFIGURATIONS[name]
            path.write_text(json.dumps(changed(json.loads(path.read_text()), key, value, inside)))
        lines = (folder / "corpus.jsonl").read_text().splitlines()
        for at, record in records:
            lines.insert(at, record)
        (folder / "corpus.jsonl").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        words = ["--model", folder / "model", "--input-sae", folder / "input_saes"]
        words += ["--output-sae", folder / "output_saes", "--corpus", folder / "corpus.jsonl"]
        words += ["--seq-len", 16, "--sequences", 8, "--device", "cpu"]
        ended = attnrules("ingest", warehouse, *words)
        assert ended.code in (0, 1, 2)
        assert "Traceback" not in ended.err
        said = [line for line in ended.err.splitlines() if line.startswith("attnrules: ")]
        assert not any(line.startswith("attnrules: unexpected") for line in said)
        if ended.code:
            assert len(said) == 1
            assert not warehouse.exists()
        else:
            assert attnrules("check", warehouse).code == 0
    finally:
        for path, content in files.items():
            path.write_bytes(content)
