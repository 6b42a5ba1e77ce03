"""A model is whole: its files are looked at before anything is allocated, its tensors when they are loaded.

transformers fills what a checkpoint lacks with random numbers and warns; here that is refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError, one_line

_DEEPEST = 100
_LARGEST_CONFIG = 1 << 24
_LARGEST_TOKENIZER = 1 << 28
# Far above any model that fits one machine; below what building would take hours or all memory for.
_LARGEST = {
    "num_hidden_layers": 1_000,
    "hidden_size": 1 << 17,
    "num_attention_heads": 1 << 12,
    "num_key_value_heads": 1 << 12,
    "head_dim": 1 << 14,
    "intermediate_size": 1 << 21,
    "vocab_size": 1 << 23,
    "max_position_embeddings": 1 << 31,
}
# Masks and rotary tables that older checkpoints carry along; models compute them themselves.
_COMPUTED = re.compile(r"(?:attn|attention|self_attn)\.(?:masked_)?bias$|rotary_emb\.inv_freq$")
_LARGEST_INT = 2**63 - 1
_NAMED = 3


def check_folder(folder: Path) -> None:
    """Refuse by name a model folder that cannot be loaded, or that would exhaust memory when it is.

    Raises `AttnRulesError` for a missing, malformed or deeply nested JSON file, for dimensions out of
    bounds, and for a configuration that declares far more parameters than the weights files hold.
    """
    if not folder.is_dir():
        raise AttnRulesError(
            f"model {folder}: is a file, but not a GGUF one; name the folder that holds config.json"
        )
    if not (folder / "config.json").is_file():
        raise AttnRulesError(f"model {folder}: no config.json in it; name a Hugging Face model folder")
    for path in sorted(folder.glob("*.json")):
        _read_json(folder, path)
    _check_weights(folder, _configured_parameters(folder))


def _read_json(folder: Path, path: Path) -> None:
    largest = _LARGEST_CONFIG if path.name == "config.json" else _LARGEST_TOKENIZER
    try:
        if path.stat().st_size > largest:
            raise ValueError(f"has {path.stat().st_size:,} bytes")
        # Tokenizers say 10^30 for a length without bound; a number of config.json enters the forward pass.
        whole = bounded_int if path.name == "config.json" else int
        content = json.loads(path.read_text("utf-8"), parse_int=whole)
        if nests_deeper(content, _DEEPEST):
            raise ValueError(f"nests more than {_DEEPEST} deep")
    except (OSError, ValueError, RecursionError) as error:
        said = str(error).splitlines()[0][:200]
        raise AttnRulesError(f"model {folder}: {path.name} cannot be read: {said}") from error
    if path.name == "config.json" and not isinstance(content, dict):
        raise AttnRulesError(f"model {folder}: config.json is not a JSON object")


def bounded_int(digits: str) -> int:
    """Return an integer of a JSON file; raises `ValueError` for one that 64 bits do not hold."""
    if len(digits) > 20 or abs(number := int(digits)) > _LARGEST_INT:
        raise ValueError(f"the number {digits[:20]}… is too large")
    return number


def nests_deeper(content: object, depth: int) -> bool:
    """Tell whether a JSON value nests more than `depth` deep, without recursion."""
    level = [content]
    for _ in range(depth):
        level = [
            inner
            for value in level
            if isinstance(value, (dict, list))
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True


def _configured_parameters(folder: Path) -> int:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder)
    except Exception as error:
        raise AttnRulesError(f"model {folder}: config.json cannot be used: {one_line(error)}") from error
    return declared_parameters(f"model {folder}: config.json", config)


def declared_parameters(source: str, config: Any) -> int:
    """Return how many parameters a configuration declares, shared ones once; nothing is allocated for them.

    0 for what is no causal language model. `source` names the configuration in messages. Raises
    `AttnRulesError` for dimensions out of bounds and for what no model can be built from.
    """
    import torch
    from transformers import AutoModelForCausalLM

    for name, largest in _LARGEST.items():
        try:
            value = getattr(config, name, None)
        except RuntimeError:  # a dimension that differs from layer to layer has no value of its own
            continue
        if value is None or isinstance(value, (list, dict)):
            continue
        if type(value) is not int or not 1 <= value <= largest:
            raise AttnRulesError(
                f"{source} says {name} {str(value)[:40]}; it must be a whole number from 1 to {largest:,}"
            )
    try:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config)
    except ValueError:
        return 0  # refused by name when its hooks are looked for
    except Exception as error:
        raise AttnRulesError(f"{source} cannot be used: {one_line(error)}") from error
    return sum(parameter.numel() for parameter in empty.parameters())


def _check_weights(folder: Path, declared: int) -> None:
    files = [path for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern)]
    missing = [path.name for path in files if not path.is_file()]
    if missing or not files:
        said = f"{missing[0]} is not a file" if missing else "no weights (*.safetensors) in it"
        raise AttnRulesError(f"model {folder}: {said}")
    # A parameter takes half a byte at the least.
    held = 2 * sum(path.stat().st_size for path in files)
    if declared > held:
        raise AttnRulesError(
            f"model {folder}: config.json declares {declared:,} parameters, but its weights files hold"
            f" {held // 2:,} bytes; the configuration belongs to another model, or files are missing"
        )


class WholeModel:
    """Stands in for a transformers class, so that what it leaves out in silence is refused.

    `see` is shown the model as transformers has loaded it.
    """

    def __init__(self, name: str, see: Callable[[Any], None] = lambda _: None) -> None:
        self._name = name
        self._see = see

    def from_pretrained(self, target: str, **options: Any) -> Any:
        """Load as the class of the configuration would; raises `AttnRulesError` unless all tensors fit."""
        from transformer_lens.model_bridge.sources import transformers as source

        architecture = source.determine_architecture_from_hf_config(options["config"])
        loader = source.get_hf_model_class_for_architecture(architecture)
        model, report = loader.from_pretrained(
            target, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
        self._refuse("lacks", report["missing_keys"])
        self._refuse(
            "holds, of another shape than its config.json says,",
            [f"{key} {_shape(held)} for {_shape(wanted)}" for key, held, wanted in report["mismatched_keys"]],
        )
        unexpected = [key for key in report["unexpected_keys"] if not _COMPUTED.search(key)]
        self._refuse("holds, though its config.json has no place for it,", unexpected)
        for message in report.get("error_msgs") or ():
            raise AttnRulesError(f"model {self._name}: {str(message).splitlines()[0][:200]}")
        _refuse_not_finite(self._name, model)
        self._see(model)
        return model

    def _refuse(self, what: str, tensors: Any) -> None:
        if tensors:
            raise AttnRulesError(
                f"model {self._name}: its checkpoint {what} {named(tensors)}; it is damaged or belongs to"
                " another configuration"
            )


def _refuse_not_finite(name: str, model: Any) -> None:
    """Raise `AttnRulesError` naming the parameters that hold NaN or infinity."""
    import torch

    broken = [key for key, tensor in model.named_parameters() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise AttnRulesError(
            f"model {name}: {named(broken)} holds values that are not finite; the file is damaged"
        )


def named(tensors: Any) -> str:
    """Name a few tensors, and count the rest."""
    ordered = sorted(map(str, tensors))
    rest = len(ordered) - _NAMED
    return ", ".join(ordered[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape))
