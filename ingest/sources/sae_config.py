"""SAE configurations: reading `cfg.json` files of unknown origin, and what they declare.

Everything that changes what an SAE computes is either carried out by the module that is loaded or refused
by name here, since SAELens leaves out in silence what a class has no field for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest.sources.identity import canonical
from attnrules.ingest.sources.model_files import bounded_int, nests_deeper

# Far above what is published; below what would exhaust memory before a tensor is read.
_LARGEST = {"d_in": 1 << 20, "d_sae": 1 << 25}
_LARGEST_FILE = 1 << 24
_DEEPEST = 50

_ACTIVATION_KEYS = ("activation_fn", "activation_fn_str")
# Options of one class that change what is computed; another class would leave them out in silence.
_FUNCTION_KEYS = ("rescale_acts_by_decoder_norm", "residual_threshold", "max_iterations", "kval_topk")
_TYPES: tuple[tuple[str, type, str], ...] = (
    ("apply_b_dec_to_input", bool, "true or false"),
    ("rescale_acts_by_decoder_norm", bool, "true or false"),
    ("dtype", str, "a name"),
)
# What is read and, in configurations of transcoders, what is written instead.
_READ_AND_WRITTEN = (
    ("hook_name", "hook_name_out"),
    ("hook_head_index", "hook_head_index_out"),
    ("d_in", "d_out"),
)
_NOT_IDENTITY = {"device", "metadata"}

# Ways of loading a model that leave the residual stream and the heads' outputs as they are.
_NEUTRAL_LOADING = {
    *("fold_ln", "center_unembed", "dtype", "torch_dtype", "device", "device_map", "n_devices"),
    *("move_to_device", "trust_remote_code", "attn_implementation", "local_files_only", "cache_dir", "token"),
    *("default_padding_side", "default_prepend_bos", "hf_model", "tokenizer", "first_n_layers"),
}


@dataclass(frozen=True)
class Declared:
    """What a configuration says about the activations that the SAE was trained on.

    Arguments:
        centred: whether the model's writing weights were centred. biases_folded: whether its value biases
            were folded; both as TransformerLens's default processing does.
        context_size: positions of a training sequence, None where it does not say.
        prepend_bos: whether they began with BOS.
        ignored: arguments of the model's loading that are not carried out.
    """

    centred: bool
    biases_folded: bool
    context_size: int | None
    prepend_bos: bool
    ignored: tuple[str, ...]


def declared(where: str, metadata: Mapping[str, Any]) -> Declared:
    """Return what the metadata of a SAELens configuration declares.

    SAELens writes `model_from_pretrained_kwargs` since it trains on models without processing
    (`from_pretrained_no_processing`), so where the key is present, even empty, only what it asks for was
    done; where it is missing, the default processing was. Raises `AttnRulesError` for wrong types and for
    processing that is not supported.
    """
    context_size = metadata.get("context_size")
    if context_size is not None and (type(context_size) is not int or context_size < 1):
        raise AttnRulesError(f"{where}: context_size {context_size!r} is not a number of tokens")
    loading = metadata.get("model_from_pretrained_kwargs")
    if loading is not None and not isinstance(loading, dict):
        raise AttnRulesError(f"{where}: model_from_pretrained_kwargs {loading!r} is not an object")
    if loading is not None and loading.get("refactor_factored_attn_matrices"):
        raise AttnRulesError(
            f"{where}: was trained on a model with refactor_factored_attn_matrices, whose head outputs are"
            " others; this is not supported"
        )
    processed = loading is None
    known = {
        *_NEUTRAL_LOADING,
        "center_writing_weights",
        "fold_value_biases",
        "refactor_factored_attn_matrices",
    }
    asked = loading or {}
    return Declared(
        centred=bool(asked.get("center_writing_weights", processed)),
        biases_folded=bool(asked.get("fold_value_biases", processed)),
        context_size=context_size,
        prepend_bos=bool(metadata.get("prepend_bos") is not False),
        ignored=tuple(sorted(f"{key}={value}" for key, value in asked.items() if key not in known)),
    )


def configuration(module: Any, read: Declared, hook: str | None = None) -> str:
    """Return what decides, besides the weights, what an SAE computes: canonical JSON.

    `hook` is which of several hooks of its location it reads, None where there is only one.
    """
    config = module.cfg
    facts = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in _NOT_IDENTITY}
    # What is read is flat, whatever the form that it was trained in.
    facts |= {"architecture": config.architecture(), "reshape_activations": "none"}
    facts |= {"reads_centred_weights": read.centred, "reads_folded_value_biases": read.biases_folded}
    return canonical(facts if hook is None else {**facts, "hook": hook})


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raises `AttnRulesError` for anything else, however it is nested."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"{path.stat().st_size:,} bytes are no configuration")
        content = json.loads(path.read_text("utf-8"), parse_int=bounded_int)
        if nests_deeper(content, _DEEPEST):
            raise ValueError(f"nested more than {_DEEPEST} deep")
    except (OSError, ValueError, RecursionError) as error:
        raise AttnRulesError(f"SAE configuration {path}: cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise AttnRulesError(f"SAE configuration {path}: is not a JSON object")
    return content


def metadata_of(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object `metadata` of a configuration, empty where it has none."""
    metadata = config.get("metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise AttnRulesError(f"SAE configuration {path}: metadata is not an object")
    return metadata


def whole_number(path: Path, name: str, value: object) -> int:
    """Return a value that must be a number of 0 or more, given as a number or its digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise AttnRulesError(f"SAE configuration {path}: {name} {_shown(value)} is not a whole number")
    return value


def check_saelens_config(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse by name a SAELens configuration of wrong types, or with an option that is not carried out."""
    from sae_lens.registry import SAE_CLASS_REGISTRY

    architecture = _architecture(path, config)
    for name, largest in _LARGEST.items():
        if not 1 <= whole_number(path, name, config.get(name)) <= largest:
            raise AttnRulesError(
                f"SAE configuration {path}: {name} {config[name]} must lie between 1 and {largest:,}"
            )
    for name, kind, words in _TYPES:
        if not isinstance(config.get(name, kind()), kind):
            raise AttnRulesError(f"SAE configuration {path}: {name} {_shown(config[name])} is not {words}")
    _check_activation(path, config, architecture)
    _refuse_transcoder(path, config)
    known = {f.name for f in fields(SAE_CLASS_REGISTRY[architecture][1])}
    for name in _FUNCTION_KEYS:
        if config.get(name) and name not in known:
            raise AttnRulesError(
                f"SAE configuration {path}: {name} {_shown(config[name])} means nothing for architecture"
                f" {architecture}; is the architecture right?"
            )


def _refuse_transcoder(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse what writes another place than it reads, whatever its architecture is called."""
    said = {**config, **metadata_of(path, config)}
    for read, written in _READ_AND_WRITTEN:
        if said.get(written) is not None and said.get(read) is not None and said[written] != said[read]:
            raise AttnRulesError(
                f"SAE configuration {path}: {written} {_shown(said[written])} is not {read}"
                f" {_shown(said[read])}: a transcoder, which writes another place of the model than it reads,"
                " is not supported"
            )


def _architecture(path: Path, config: Mapping[str, Any]) -> str:
    from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

    architecture = config.get("architecture", "standard")
    if not isinstance(architecture, str):
        raise AttnRulesError(f"SAE configuration {path}: architecture {_shown(architecture)} is not a name")
    if architecture not in SAE_CLASS_REGISTRY:
        instead = "is not known"
        if architecture in SAE_TRAINING_CLASS_REGISTRY:
            instead = "is one for training; save it with SAELens's save_inference_model"
        raise AttnRulesError(f"SAE configuration {path}: architecture {architecture} {instead}")
    return architecture


def _check_activation(path: Path, config: Mapping[str, Any], architecture: str) -> None:
    """Refuse an activation function, or a k, that SAELens would not use."""
    named = [config[key] for key in _ACTIVATION_KEYS if config.get(key) is not None]
    options = config.get("activation_fn_kwargs") or {}
    if not isinstance(options, dict):
        raise AttnRulesError(f"SAE configuration {path}: activation_fn_kwargs is not an object")
    # Before SAELens 6, standard with the activation function topk was how a TopK SAE was written.
    becomes_topk = "topk" in named and options.get("k") is not None and _is_before_6(path, config)
    k = options.get("k") if becomes_topk or config.get("k") is None else config["k"]
    for name in named:
        if name not in ("relu", "topk") or (name == "topk" and architecture != "topk" and not becomes_topk):
            raise AttnRulesError(
                f"SAE configuration {path}: activation function {_shown(name)} is not what architecture"
                f" {architecture} computes; it is not supported"
            )
    takes_k = becomes_topk or architecture in ("topk", "abstopk")
    if takes_k and not 1 <= whole_number(path, "k", k) <= config["d_sae"]:
        raise AttnRulesError(
            f"SAE configuration {path}: k {k} must lie between 1 and d_sae {config['d_sae']}"
        )
    if k is not None and architecture in ("standard", "gated") and not takes_k:
        raise AttnRulesError(
            f"SAE configuration {path}: k {_shown(k)} means nothing for architecture {architecture};"
            " is it a topk SAE?"
        )


def _is_before_6(path: Path, config: Mapping[str, Any]) -> bool:
    version = config.get("sae_lens_version") or metadata_of(path, config).get("sae_lens_version")
    major = str(version or "0").split(".")[0]
    return not major.isdigit() or int(major) < 6


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
