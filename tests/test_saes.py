"""SAEs of every class: what is stored is the function that SAELens computes, or the SAE is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.model import load_model
from attnrules.ingest.sources.saes import find_saes, load_sae
from attnrules.warehouse import Warehouse
from tests.planted import PlantedModel
from tests.test_pipeline import dense, random_gpt2, same

N_SEQ, SEQ_LEN, D_MODEL, D_HEAD, D_SAE = 6, 10, 24, 6, 20
LAYER, HEAD = 1, 2
UNPROCESSED: dict[str, Any] = {"model_from_pretrained_kwargs": {}}

# What SAELens can load and rules can be made of: (options of the input SAE, options of the output SAE).
USABLE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "standard": ({"architecture": "standard"}, {"architecture": "standard"}),
    "not centred": (
        {"architecture": "standard", "apply_b_dec_to_input": False},
        {"architecture": "jumprelu", "apply_b_dec_to_input": False},
    ),
    "topk": ({"architecture": "topk", "k": 5}, {"architecture": "topk", "k": 4}),
    "topk in units of decoder norms": (
        {"architecture": "topk", "k": 5, "rescale_acts_by_decoder_norm": True},
        {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": True},
    ),
    "jumprelu": ({"architecture": "jumprelu"}, {"architecture": "jumprelu"}),
    "gated": ({"architecture": "gated"}, {"architecture": "gated"}),
    "matching pursuit": (
        {"architecture": "matching_pursuit", "max_iterations": 4},
        {"architecture": "gated", "apply_b_dec_to_input": False},
    ),
    "matching pursuit, not centred": (
        {"architecture": "matching_pursuit", "max_iterations": 4, "apply_b_dec_to_input": False},
        {"architecture": "standard"},
    ),
    "trained on the unprocessed model": (
        {"architecture": "topk", "k": 5, "metadata": UNPROCESSED},
        {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": True, "metadata": UNPROCESSED},
    ),
    "outputs of the unprocessed model": (
        {"architecture": "standard"},
        {"architecture": "jumprelu", "metadata": UNPROCESSED},
    ),
}


def write_sae(folder: Path, hook_name: str, head: int | None, **options: Any) -> Path:
    """Write a SAELens folder with random weights whose decoder rows have norms from 0.3 to 3."""
    from sae_lens import SAE

    d_in = D_MODEL if head is None else D_HEAD
    metadata = {"hook_name": hook_name, "hook_head_index": head, **options.pop("metadata", {})}
    module = SAE.from_dict({"d_in": d_in, "d_sae": D_SAE, "metadata": metadata, **options})
    generator = torch.Generator().manual_seed(d_in + len(options))
    for name, parameter in module.named_parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=generator)
        if name == "threshold":
            parameter.data.abs_()
        if name == "W_dec":
            norms = torch.linspace(0.3, 3, len(parameter))[:, None]
            parameter.data *= norms / parameter.data.norm(dim=-1, keepdim=True)
            if options["architecture"] == "matching_pursuit":
                parameter.data /= norms
    module.save_model(folder)
    return folder


def random_model(folder: Path, planted: PlantedModel) -> Path:
    torch.manual_seed(0)
    random_gpt2(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((planted.model_dir / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def model_dir(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with biases everywhere. Not to be written to."""
    return random_model(tmp_path_factory.mktemp("saes") / "model", planted)


def spec_of(planted: PlantedModel, model: Path, inputs: Path, outputs: Path) -> IngestSpec:
    return IngestSpec(
        model=str(model),
        input_sae=str(inputs),
        output_sae=str(outputs),
        corpus=CorpusSpec(str(planted.corpus_path), seq_len=SEQ_LEN),
        n_sequences=N_SEQ,
        min_attention=0.0,
        device="cpu",
    )


def write_pair(folder: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> tuple[Path, Path]:
    write_sae(folder / "in" / "sae", f"blocks.{LAYER}.hook_resid_pre", None, **inputs)
    write_sae(folder / "out" / "sae", f"blocks.{LAYER}.attn.hook_z", HEAD, **outputs)
    return folder / "in", folder / "out"


@dataclass(frozen=True)
class Made:
    """A warehouse, the SAEs that it was made with, and what they read in the model that they name."""

    path: Path
    input_sae: Any
    output_sae: Any
    residual: torch.Tensor
    z: torch.Tensor
    z_is_shifted_by: torch.Tensor
    model: Any


@pytest.fixture(scope="module", params=USABLE.values(), ids=USABLE)
def made(
    request: pytest.FixtureRequest,
    planted: PlantedModel,
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge

    home = tmp_path_factory.mktemp("made")
    inputs, outputs = write_pair(home, *(dict(options) for options in request.param))
    ingest(home / "w.duckdb", spec_of(planted, model_dir, inputs, outputs))
    with Warehouse.open(home / "w.duckdb") as warehouse:
        rows = warehouse.rows("SELECT token_id FROM tokens ORDER BY seq_id, pos")
    tokens = torch.tensor(rows).reshape(N_SEQ, SEQ_LEN)
    model = load_model(str(model_dir), revision=None, device="cpu")
    raw = TransformerBridge.boot_transformers(str(model_dir), device="cpu", dtype=torch.float32)
    raw.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    with torch.no_grad():
        (_, processed), (_, unprocessed) = (
            bridge.run_with_cache(tokens, prepend_bos=False) for bridge in (model.bridge, raw)
        )
    read_in, read_out = (unprocessed if "metadata" in options else processed for options in request.param)
    hook_z = f"blocks.{LAYER}.attn.hook_z"
    z, plain = (seen[hook_z].reshape(N_SEQ, SEQ_LEN, 4, D_HEAD)[:, :, HEAD] for seen in (read_out, processed))
    return Made(
        home / "w.duckdb",
        SAE.load_from_disk(inputs / "sae"),
        SAE.load_from_disk(outputs / "sae"),
        read_in[f"blocks.{LAYER}.hook_resid_pre"],
        z,
        (z - plain).mean((0, 1)),
        model,
    )


def stored_inputs(made: Made) -> torch.Tensor:
    query = "SELECT seq_id, pos, feature, activation FROM input_activations"
    return dense(made.path, query, (N_SEQ, SEQ_LEN, D_SAE))


def vectors(made: Made, query: str) -> torch.Tensor:
    with Warehouse.open(made.path) as warehouse:
        return torch.tensor([row[0] for row in warehouse.rows(query)])


def test_stored_activations_are_those_of_the_sae(made: Made) -> None:
    same(stored_inputs(made), made.input_sae.encode(made.residual))
    query = "SELECT seq_id, pos, feature, activation FROM output_activations"
    same(dense(made.path, query, (N_SEQ, SEQ_LEN, D_SAE)), made.output_sae.encode(made.z))


def test_stored_activations_times_decoder_rows_are_the_reconstruction(made: Made) -> None:
    W_V = made.model.bridge.blocks[LAYER].attn.W_V[HEAD]
    rows = vectors(made, "SELECT value_vector FROM projections ORDER BY feature")
    offset = vectors(made, "SELECT decoder_bias_value FROM heads")[0]
    expected = made.input_sae.decode(made.input_sae.encode(made.residual))
    same(stored_inputs(made) @ rows + offset, expected @ W_V)


def test_the_reconstruction_error_is_that_of_the_sae(made: Made) -> None:
    x = made.residual
    missed = x - made.input_sae.decode(made.input_sae.encode(x))
    expected = missed.square().sum(-1) / x.square().sum(-1)
    query = "SELECT seq_id, pos, reconstruction_error FROM token_scales"
    same(dense(made.path, query, (N_SEQ, SEQ_LEN)), expected)


def rebuilt_z(made: Made) -> torch.Tensor:
    """Return the head's output with values from the input SAE's reconstruction, every source kept."""
    attn = made.model.bridge.blocks[LAYER].attn
    values = made.input_sae.decode(made.input_sae.encode(made.residual)) @ attn.W_V[HEAD]
    scale = dense(made.path, "SELECT seq_id, pos, ln_scale FROM token_scales", (N_SEQ, SEQ_LEN))
    query = "SELECT seq_id, query_pos, key_pos, weight FROM attention_sources"
    pattern = dense(made.path, query, (N_SEQ, SEQ_LEN, SEQ_LEN))
    return pattern @ (values / scale[..., None] + attn.b_V.reshape(-1, D_HEAD)[HEAD])


def test_contributions_and_bias_add_up_to_the_sae_s_own_preactivation(made: Made) -> None:
    activations = made.output_sae.encode(rebuilt_z(made) + made.z_is_shifted_by)
    # Where a feature is active, its activation is its pre-activation, whatever the class scales and gates.
    places = (activations > 0).nonzero()[:: max(1, int((activations > 0).sum()) // 12)]
    with Warehouse.open(made.path) as warehouse:
        found = [
            warehouse.value(
                f"SELECT (SELECT sum(contribution_from_features) FROM dfa({LAYER}, {HEAD}, {f}, {s}, {p}))"
                f" + preactivation_bias FROM output_features WHERE feature = {f}"
            )
            for s, p, f in places.tolist()
        ]
    assert len(found) >= 12
    same(torch.tensor(found, dtype=torch.float32), activations[tuple(places.T)])


# --- refused by name -------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "abstopk": ({"architecture": "abstopk", "k": 4}, "active with either sign"),
    "temporal": ({"architecture": "temporal", "n_heads": 1, "bottleneck_factor": 4}, "before it"),
    "transcoder": ({"architecture": "transcoder", "d_out": D_HEAD}, "writes another"),
    "skip_transcoder": ({"architecture": "skip_transcoder", "d_out": D_HEAD}, "writes another"),
    "jumprelu_transcoder": ({"architecture": "jumprelu_transcoder", "d_out": D_HEAD}, "writes another"),
    "jumprelu_skip_transcoder": (
        {"architecture": "jumprelu_skip_transcoder", "d_out": D_HEAD},
        "writes another",
    ),
    "matching_pursuit": ({"architecture": "matching_pursuit"}, "has no pre-activation"),
    "layer_norm": (
        {"architecture": "standard", "normalize_activations": "layer_norm"},
        "no constant weights",
    ),
    "constant_norm_rescale": (
        {"architecture": "standard", "normalize_activations": "constant_norm_rescale"},
        "no constant weights",
    ),
    "expected_average_only_in": (
        {"architecture": "standard", "normalize_activations": "expected_average_only_in"},
        "fold_activation_norm_scaling_factor",
    ),
    "covariance_whitening": (
        {"architecture": "topk", "k": 3, "normalize_activations": "covariance_whitening"},
        "fold_activation_whitening",
    ),
}


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Any:
    return load_model(str(model_dir), revision=None, device="cpu")


@pytest.mark.parametrize(("options", "says"), REFUSED.values(), ids=REFUSED)
def test_an_sae_without_effective_weights_is_refused_by_name(
    model: Any, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    options = dict(options)
    if "transcoder" in options["architecture"]:
        options["apply_b_dec_to_input"] = False
    write_sae(tmp_path / "sae", f"blocks.{LAYER}.attn.hook_z", HEAD, **options)
    with pytest.raises(AttnRulesError) as refused:
        load(model, tmp_path)
    assert says in str(refused.value)


def test_every_class_that_saelens_loads_is_tried_here() -> None:
    import sae_lens.registry

    tried = {option["architecture"] for pair in USABLE.values() for option in pair}
    tried |= {option["architecture"] for option, _ in REFUSED.values()}
    assert tried == set(sae_lens.registry.SAE_CLASS_REGISTRY)


def load(model: Any, folder: Path) -> Any:
    found = find_saes("output", str(folder), sae_id=None, layers=None, heads=None)
    return load_sae(found, Location(LAYER, HEAD), model)


def edited(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "cfg.json").read_text())
        (folder / "cfg.json").write_text(json.dumps({**config, **values}))

    return edit


def described(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "cfg.json").read_text())
        edited(metadata={**config["metadata"], **values})(folder)

    return edit


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        state = load_file(folder / "sae_weights.safetensors")
        change(state)
        save_file(state, folder / "sae_weights.safetensors")

    return edit


def dangling(folder: Path) -> None:
    (folder / "sae_weights.safetensors").unlink()
    (folder / "sae_weights.safetensors").symlink_to(folder / "nowhere")


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "k too large": (edited(k=D_SAE + 1), "k 21"),
    "k no number": (edited(k=[4]), "k [4]"),
    "k a fraction": (edited(k=2.5), "k 2.5"),
    "no k": (edited(k=None), "k None"),
    "huge width": (edited(d_sae=10**9), "d_sae 1000000000"),
    "width a list": (edited(d_in=[6]), "d_in [6]"),
    "another width": (edited(d_sae=12), "size mismatch for W_dec"),
    "no architecture of ours": (edited(architecture="batchtopk"), "save_inference_model"),
    "unknown architecture": (edited(architecture="relu9"), "relu9"),
    "architecture a number": (edited(architecture=4), "architecture 4"),
    "k of a standard SAE": (edited(architecture="standard"), "is it a topk SAE"),
    "activation function dropped": (edited(architecture="standard", k=None, activation_fn="topk"), "topk"),
    "unknown activation function": (edited(activation_fn="tanh"), "tanh"),
    "rescaling dropped": (
        edited(architecture="standard", k=None, rescale_acts_by_decoder_norm=True),
        "rescale_acts_by_decoder_norm",
    ),
    "centring no flag": (edited(apply_b_dec_to_input="yes"), "apply_b_dec_to_input 'yes'"),
    "another hook written": (described(hook_name_out="blocks.1.hook_mlp_out"), "a transcoder"),
    "another head written": (described(hook_head_index_out=3), "hook_head_index_out 3"),
    "another width written": (edited(d_out=12), "d_out 12"),
    "dtype no name": (edited(dtype=[1]), "dtype [1]"),
    "normalisation a list": (edited(normalize_activations=["none"]), "normalize_activations"),
    "metadata a list": (edited(metadata=[]), "metadata is not an object"),
    "head no number": (described(hook_head_index="two"), "hook_head_index 'two'"),
    "hook a number": (described(hook_name=7), "hook_name"),
    "loading a list": (described(model_from_pretrained_kwargs=[1]), "model_from_pretrained_kwargs [1]"),
    "another factorisation": (
        described(model_from_pretrained_kwargs={"refactor_factored_attn_matrices": True}),
        "refactor_factored_attn_matrices",
    ),
    "context a word": (described(context_size="long"), "context_size 'long'"),
    "version a word": (described(sae_lens_version="new"), "cannot be loaded"),
    "empty configuration": (written("cfg.json", b""), "cannot be read"),
    "nested configuration": (written("cfg.json", b"[" * 100_000), "cannot be read"),
    "deep configuration": (written("cfg.json", b'{"a":' * 60 + b"1" + b"}" * 60), "deep"),
    "configuration a list": (written("cfg.json", b"[]"), "not a JSON object"),
    "empty weights": (written("sae_weights.safetensors", b""), "cannot be loaded"),
    "weights no safetensors": (written("sae_weights.safetensors", b"\x80\x04K\x01." * 9), "cannot be loaded"),
    "dangling weights": (dangling, "has no sae_weights.safetensors"),
    "missing tensor": (tensors(lambda state: state.pop("b_enc")), "b_enc"),
    "unexpected tensor": (tensors(lambda state: state.update(b_more=torch.zeros(3))), "b_more"),
    "other shape": (tensors(lambda state: state.update(b_enc=torch.zeros(3))), "b_enc"),
    "not finite": (tensors(lambda state: state["W_dec"][2, 1].fill_(torch.inf)), "W_dec"),
    "zero decoder row": (
        lambda folder: (
            edited(rescale_acts_by_decoder_norm=True)(folder),
            tensors(lambda state: state["W_dec"][2].zero_())(folder),
            None,
        )[-1],
        "decoder row 2 is zero",
    ),
}


@pytest.mark.parametrize(("spoil", "says"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_sae_is_refused_by_name(
    model: Any, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(write_sae(tmp_path / "sae", f"blocks.{LAYER}.attn.hook_z", HEAD, architecture="topk", k=4))
    with pytest.raises(AttnRulesError) as refused:
        load(model, tmp_path)
    assert says in str(refused.value)
    assert "sae" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_threshold_that_is_no_number_is_refused(model: Any, tmp_path: Path) -> None:
    folder = write_sae(tmp_path / "sae", f"blocks.{LAYER}.attn.hook_z", HEAD, architecture="jumprelu")
    tensors(lambda state: state["threshold"][3].fill_(torch.nan))(folder)
    with pytest.raises(AttnRulesError, match="threshold holds values that are not finite"):
        load(model, tmp_path)


# --- per-head checkpoints --------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a `.pt` checkpoint of four random tensors beside a configuration."""

    def write(**config: Any) -> Path:
        torch.manual_seed(1)
        state = {
            "W_enc": torch.randn(D_HEAD, D_SAE),
            "W_dec": torch.randn(D_SAE, D_HEAD),
            "b_enc": torch.randn(D_SAE),
            "b_dec": torch.randn(D_HEAD),
        }
        torch.save(state, tmp_path / f"gpt_L{LAYER}_H{HEAD}_z.pt")
        (tmp_path / f"gpt_L{LAYER}_H{HEAD}_z_cfg.json").write_text(json.dumps(config))
        return tmp_path

    return write


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "topk", "k": 3},
        {"sae_type": "topk", "top_k": 3},
        {"activation_fn": "TopK", "k": "3"},
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}},
        {"act_fn": "top-k", "topk": 3},
        {"dict_class": "AutoEncoderTopK", "k": 3},
    ],
)
def test_a_checkpoint_is_run_with_the_k_that_it_declares(
    model: Any, checkpoint: Callable[..., Path], config: dict[str, Any]
) -> None:
    sae = load(model, checkpoint(**config))
    z = 9 * torch.randn(50, D_HEAD, generator=torch.Generator().manual_seed(0))
    assert int((sae.encode(z) > 0).sum(-1).max()) == 3


@pytest.mark.parametrize("config", [{}, {"act_fn": "relu"}, {"sae_type": "vanilla", "top_k": 32}])
def test_a_checkpoint_that_declares_nothing_else_is_a_standard_one(
    model: Any, checkpoint: Callable[..., Path], config: dict[str, Any]
) -> None:
    assert load(model, checkpoint(**config)).architecture == "standard"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architecture": "batchtopk", "k": 3}, "'batchtopk'"),
        ({"activation": "gelu"}, "'gelu'"),
        ({"activation": ["relu"]}, "activation"),
        ({"architecture": "topk"}, "no k"),
        ({"k": 3}, "which activation function"),
        ({"architecture": "topk", "k": 3, "top_k": 4}, "several k"),
        ({"architecture": "topk", "k": 99}, "k 99"),
        ({"architecture": "gated", "act_fn": "topk", "k": 3}, "contradicts itself"),
        ({"architecture": "jumprelu"}, "expected W_dec, W_enc, b_dec, b_enc, threshold"),
        ({"input_unit_norm": True}, "input_unit_norm"),
        ({"normalize_activations": "layer_norm"}, "layer_norm"),
        ({"layer": [1]}, "layer [1]"),
        ({"apply_b_dec_to_input": "no"}, "apply_b_dec_to_input"),
    ],
    ids=str,
)
def test_a_checkpoint_that_declares_something_else_is_refused(
    model: Any, checkpoint: Callable[..., Path], config: dict[str, Any], says: str
) -> None:
    with pytest.raises(AttnRulesError) as refused:
        load(model, checkpoint(**config))
    assert says in str(refused.value)


def test_a_checkpoint_may_leave_its_inputs_uncentred(model: Any, checkpoint: Callable[..., Path]) -> None:
    sae = load(model, checkpoint(apply_b_dec_to_input=False))
    same(sae.weights.preactivation_bias.float(), sae.weights.bias)


# --- forms of SAELens ------------------------------------------------------------------------------


def test_an_sae_of_one_head_in_the_form_of_saelens_3_to_5_is_loaded(model: Any, tmp_path: Path) -> None:
    folder = write_sae(tmp_path / "sae", f"blocks.{LAYER}.attn.hook_z", HEAD, architecture="topk", k=4)
    expected = load(model, tmp_path)
    old = {
        "architecture": "standard",
        "d_in": D_HEAD,
        "d_sae": D_SAE,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 4},
        "hook_name": f"blocks.{LAYER}.attn.hook_z",
        "hook_head_index": HEAD,
        "dtype": "torch.float32",
        "sae_lens_training_version": "4.0.0",
    }
    (folder / "cfg.json").write_text(json.dumps(old))
    z = torch.randn(5, D_HEAD)
    same(load(model, tmp_path).encode(z), expected.encode(z))


def test_what_a_configuration_says_of_the_context_is_warned_of(
    planted: PlantedModel, model_dir: Path, tmp_path: Path
) -> None:
    options = {"architecture": "topk", "k": 4}
    inputs, outputs = write_pair(
        tmp_path,
        {**options, "metadata": {"context_size": SEQ_LEN - 1}},
        {**options, "metadata": {"prepend_bos": False}},
    )
    result = ingest(tmp_path / "w.duckdb", spec_of(planted, model_dir, inputs, outputs))
    assert any("contexts of 9 tokens" in warning for warning in result.warnings)
    assert any("without BOS" in warning for warning in result.warnings)


# --- identity --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(planted: PlantedModel, model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, SAEs and their warehouse. Not to be written to."""
    home = tmp_path_factory.mktemp("small")
    shutil.copytree(model_dir, home / "model")
    options = {"architecture": "topk", "k": 4}
    write_pair(home, dict(options), dict(options))
    ingest(home / "w.duckdb", spec_of(planted, home / "model", home / "in", home / "out"))
    return home


@pytest.fixture
def own(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "own"))


def more(planted: PlantedModel, home: Path) -> Any:
    spec = spec_of(planted, home / "model", home / "in", home / "out")
    return ingest(home / "w.duckdb", replace(spec, n_sequences=N_SEQ + 2))


@pytest.mark.parametrize(
    ("folder", "change", "says"),
    [
        ("in/sae", edited(k=3), "k 3, not 4"),
        ("out/sae", edited(k=3), "k 3, not 4"),
        ("in/sae", edited(architecture="standard", k=None), "architecture standard, not topk"),
        ("in/sae", edited(apply_b_dec_to_input=False), "apply_b_dec_to_input false, not true"),
        ("in/sae", edited(rescale_acts_by_decoder_norm=True), "rescale_acts_by_decoder_norm true, not false"),
        ("out/sae", described(**UNPROCESSED), "reads_folded_value_biases false, not true"),
    ],
)
def test_the_same_weights_run_otherwise_are_another_sae(
    planted: PlantedModel, own: Path, folder: str, change: Callable[[Path], None], says: str
) -> None:
    change(own / folder)
    with pytest.raises(AttnRulesError) as refused:
        more(planted, own)
    assert says in str(refused.value)


def test_input_saes_of_the_unprocessed_model_do_not_mix_with_others(planted: PlantedModel, own: Path) -> None:
    described(**UNPROCESSED)(own / "in/sae")
    with pytest.raises(AttnRulesError, match="writing weights"):
        more(planted, own)


def edit_tokenizer(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layer_norm_epsilon": 0.5}, "layer_norm_epsilon 0.5, not 1e-05"),
        ({"activation_function": "relu"}, "activation_function relu, not gelu_new"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx true, not false"),
    ],
)
def test_the_same_weights_run_otherwise_are_another_model(
    planted: PlantedModel, own: Path, change: dict[str, Any], says: str
) -> None:
    path = own / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(AttnRulesError) as refused:
        more(planted, own)
    assert says in str(refused.value)


def test_another_tokenizer_is_another_model(planted: PlantedModel, own: Path) -> None:
    edit_tokenizer(own / "model")
    with pytest.raises(AttnRulesError, match="tokenizer says normalizer"):
        more(planted, own)


def test_what_no_forward_pass_depends_on_is_no_difference(planted: PlantedModel, own: Path) -> None:
    path = own / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "resid_pdrop": 0.3, "use_cache": False}))
    assert more(planted, own).n_sequences == N_SEQ + 2


def test_a_warehouse_that_knows_weights_alone_is_compared_by_them_and_says_so(
    planted: PlantedModel, own: Path
) -> None:
    with Warehouse.open(own / "w.duckdb", writable=True) as warehouse, warehouse.transaction():
        warehouse.execute("UPDATE saes SET configuration = NULL, identity = NULL")
        warehouse.execute("UPDATE model SET configuration = NULL, tokenizer = NULL, identity = NULL")
    assert any("by their weights alone" in warning for warning in more(planted, own).warnings)


def test_identities_differ_where_configurations_do(small: Path, model: Any, tmp_path: Path) -> None:
    write_sae(tmp_path / "sae", f"blocks.{LAYER}.attn.hook_z", HEAD, architecture="topk", k=4)
    before = load(model, tmp_path)
    edited(k=3)(tmp_path / "sae")
    after = load(model, tmp_path)
    with Warehouse.open(small / "w.duckdb") as warehouse:
        stored = warehouse.value("SELECT identity FROM saes WHERE role = 'output'")
    assert before.sha256 == after.sha256
    assert stored == before.identity != after.identity
