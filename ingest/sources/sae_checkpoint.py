"""`.pt` checkpoints of attention SAEs: a plain state dict, with its configuration in a JSON file beside it.

Trainers name the same things differently. What a configuration declares under any of the names known here
is built; a declaration that is not understood is refused, since a checkpoint run as something else gives
numbers that look like any others.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError
from attnrules.ingest.sources.locations import Location, place_of_hook
from attnrules.ingest.sources.sae_config import read_json, whole_number

_VERSION = re.compile(r"_v?(\d+)$")

_KIND_KEYS = (
    *("architecture", "sae_type", "sae_class", "dict_class", "type"),
    *("activation_fn", "activation_fn_str", "activation", "activation_function", "act_fn", "nonlinearity"),
)
_K_KEYS = ("k", "top_k", "topk")
_OPTION_KEYS = ("activation_fn_kwargs", "activation_kwargs", "act_fn_kwargs")
_KINDS = {
    **dict.fromkeys(("standard", "vanilla", "relu", "sae", "autoencoder", "standardsae"), "standard"),
    **dict.fromkeys(("topk", "topksae", "autoencodertopk", "topkrelu"), "topk"),
    **dict.fromkeys(("jumprelu", "jumprelusae", "jumpreluautoencoder"), "jumprelu"),
    **dict.fromkeys(("gated", "gatedsae", "gatedautoencoder"), "gated"),
}
_TENSORS = {
    "standard": {"W_enc", "W_dec", "b_enc", "b_dec"},
    "topk": {"W_enc", "W_dec", "b_enc", "b_dec"},
    "jumprelu": {"W_enc", "W_dec", "b_enc", "b_dec", "threshold"},
    "gated": {"W_enc", "W_dec", "b_gate", "b_mag", "r_mag", "b_dec"},
}
# Options that change what is computed and that no class here carries out, unless they are off.
_UNSUPPORTED = ("input_unit_norm", "normalize_input", "normalize", "layer_norm", "scaling_factor")


def unversioned(stem: str) -> tuple[str, int]:
    """Return the name of a checkpoint without its version, and the version, -1 where it has none."""
    numbered = _VERSION.search(stem)
    version = int(numbered[1]) if numbered and len(numbered[1]) < 10 else -1
    return _VERSION.sub("", stem), version


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration of a checkpoint; raises `AttnRulesError` when it is missing or no object."""
    for name in (f"{path.stem}_cfg.json", f"{path.stem}.json", f"{unversioned(path.stem)[0]}_cfg.json"):
        if (path.parent / name).is_file():
            return read_json(path.parent / name)
    raise AttnRulesError(
        f"SAE {path}: its configuration {path.stem}_cfg.json is missing; put it beside the checkpoint"
    )


def check_config(path: Path, at: Location, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that contradicts the name of its file, or that is not understood."""
    said = _hook_name(config)
    if said is not None and said not in at.hook_names:
        raise AttnRulesError(
            f"SAE {path}: its configuration says hook {said}, its name says {' or '.join(at.hook_names)}"
        )
    head = None if at.is_whole_layer else at.head
    for keys, value in ((("layer", "hook_layer"), at.layer), (("head", "hook_head_index"), head)):
        for key in keys:
            # Of concatenated heads trainers say that the head is cat.
            if config.get(key) is None or (at.is_whole_layer and config[key] == "cat"):
                continue
            if whole_number(path, key, config[key]) != value:
                raise AttnRulesError(
                    f"SAE {path}: its configuration says {key} {config[key]}, its name says {value}"
                )
    _architecture(path, config)


def _hook_name(config: Mapping[str, Any]) -> object:
    """Return the hook that a configuration names, by TransformerLens's name, None where it names none."""
    said = config.get("act_name") or config.get("hook_name") or config.get("hook_point")
    place = place_of_hook(said, None) if isinstance(said, str) else None
    return said if place is None else place[1]


def load(path: Path, at: Location, config: Mapping[str, Any], device: str) -> Any:
    """Return the SAELens module of a checkpoint that reads `at`; no code in the file is run.

    Raises `AttnRulesError` when the file is no plain state dict or lacks what its architecture needs.
    """
    from sae_lens import SAE

    architecture = _architecture(path, config)
    state = _state(path, architecture)
    d_in, d_sae = state["W_enc"].shape
    options: dict[str, Any] = {
        "architecture": architecture,
        "d_in": int(d_in),
        "d_sae": int(d_sae),
        "device": device,
        "apply_b_dec_to_input": _flag(path, config, "apply_b_dec_to_input", True),
        "normalize_activations": config.get("normalize_activations") or "none",
        "metadata": {
            "hook_name": _hook_name(config) or at.hook_names[0],
            "hook_head_index": None if at.is_whole_layer else at.head,
            **{key: config[key] for key in _METADATA if config.get(key) is not None},
        },
    }
    if architecture == "topk":
        options["k"] = _k(path, config) or 0
        if options["k"] > d_sae:
            raise AttnRulesError(
                f"SAE {path}: its configuration says k {options['k']}, but it has {d_sae} features"
            )
        options["rescale_acts_by_decoder_norm"] = _flag(path, config, "rescale_acts_by_decoder_norm", False)
    module = SAE.from_dict(options)
    module.load_state_dict({key: value.float() for key, value in state.items()})
    return module.to(device)


_METADATA = ("model_name", "context_size", "prepend_bos", "model_from_pretrained_kwargs")


def _state(path: Path, architecture: str) -> dict[str, Any]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise AttnRulesError(
            f"SAE {path}: is not a plain state dict (it may hold code) and was not loaded"
        ) from error
    expected = _TENSORS[architecture]
    if not isinstance(state, dict) or set(state) != expected:
        keys = ", ".join(sorted(map(str, state))) if isinstance(state, dict) else type(state).__name__
        raise AttnRulesError(
            f"SAE {path}: holds {keys[:200]}; expected {', '.join(sorted(expected))} for architecture"
            f" {architecture}"
        )
    for key, value in state.items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_complex():
            raise AttnRulesError(f"SAE {path}: {key} is not a dense tensor of real numbers")
    if state["W_enc"].ndim != 2:
        raise AttnRulesError(f"SAE {path}: W_enc has {state['W_enc'].ndim} dimensions, not 2")
    return state


def _architecture(path: Path, config: Mapping[str, Any]) -> str:
    """Return SAELens's name of what the configuration declares, standard where it declares nothing."""
    kinds: dict[str, str] = {}
    for key in _KIND_KEYS:
        value = config.get(key)
        if value is None:
            continue
        plain = re.sub(r"[^a-z]", "", value.lower()) if isinstance(value, str) else ""
        if plain not in _KINDS:
            known = ", ".join(sorted(set(_KINDS.values())))
            raise AttnRulesError(
                f"SAE {path}: its configuration says {key} {str(value)[:40]!r}, which is not supported; known"
                f" are {known}"
            )
        kinds[key] = _KINDS[plain]
    for key in _UNSUPPORTED:
        value = config.get(key)
        if value is True or value not in (None, False, "none", 1):
            raise AttnRulesError(
                f"SAE {path}: its configuration says {key} {str(config[key])[:40]}, which is not supported"
            )
    # ReLU is what every one of these applies in the end, so it contradicts none.
    special = set(kinds.values()) - {"standard"}
    if len(special) > 1:
        said = ", ".join(f"{key} {config[key]}" for key in kinds)
        raise AttnRulesError(f"SAE {path}: its configuration contradicts itself: {said}")
    architecture = special.pop() if special else "standard"
    k = _k(path, config)
    if architecture == "topk" and not k:
        raise AttnRulesError(f"SAE {path}: its configuration says topk, but no k; add it")
    if k and not kinds:
        raise AttnRulesError(
            f"SAE {path}: its configuration says k {k}, but not which activation function;"
            ' add "architecture": "topk", or "standard" where k means nothing'
        )
    return architecture


def _k(path: Path, config: Mapping[str, Any]) -> int | None:
    values = [config[key] for key in _K_KEYS if config.get(key) is not None]
    for key in _OPTION_KEYS:
        options = config.get(key)
        if isinstance(options, dict) and options.get("k") is not None:
            values.append(options["k"])
    numbers = {whole_number(path, "k", value) for value in values}
    if len(numbers) > 1:
        raise AttnRulesError(f"SAE {path}: its configuration says several k: {sorted(numbers)}")
    return numbers.pop() if numbers else None


def _flag(path: Path, config: Mapping[str, Any], key: str, default: bool) -> bool:
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise AttnRulesError(f"SAE {path}: its configuration says {key} {value!r}, not true or false")
    return value
