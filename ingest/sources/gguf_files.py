"""Models in GGUF files: transformers restores float weights and the vocabulary.

It passes over scaled rotary embeddings, tensors that it has no place for and most rules by which a
tokenizer cuts text. Such files are refused by name: what is taken is known to be restored exactly.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest.sources.model_files import WholeModel, declared_parameters

_MAGIC = b"GGUF"
_ARCHITECTURES = ("llama", "qwen2", "qwen3")
# Keys of an architecture, and their names in its configuration. Any other may change the forward pass.
_RESTORED = {
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "rope.freq_base": "rope_theta",
}
# Keys that say the width of a head: all of it is rotated, and keys are as wide as values.
_HEAD_WIDTHS = ("attention.key_length", "attention.value_length", "rope.dimension_count")
# How text is cut before merging, for the names that llama.cpp gives to what is restored exactly.
_SPLITS = ("gpt-2", "qwen2", "smollm")
_OTHERWISE = "use the Hugging Face folder or hub id of the model"


@dataclass(frozen=True)
class _Header:
    """What a GGUF file says of its model.

    Arguments:
        values: the fields that hold one value each, by key.
        shapes: of its tensors, by name; the axis that varies fastest comes first.
    """

    path: Path
    values: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture"))


def is_gguf(path: Path) -> bool:
    """Tell whether `path` is a file that is, or by its name claims to be, in GGUF."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix.lower() == ".gguf" or file.read(len(_MAGIC)) == _MAGIC


def read_configuration(path: Path) -> Any:
    """Return the transformers configuration of the model in a GGUF file.

    Raises `AttnRulesError` when the package `gguf` is missing, when the file is damaged, or when it holds
    anything that would not be restored exactly.
    """
    return _configured(_read_header(path))


def _configured(header: _Header) -> Any:
    from transformers import AutoConfig

    _refuse_unknown(header)
    said = f"model {header.path}: its header"
    try:
        config = AutoConfig.for_model(header.architecture, **_settings(header))
    except Exception as error:
        raise AttnRulesError(f"{said} cannot be used: {one_line(error)}") from error
    declared = declared_parameters(said, config)
    held = sum(prod(shape) for shape in header.shapes.values())
    if declared != held:
        raise AttnRulesError(
            f"{said} declares {declared:,} parameters, its tensors hold {held:,}; what they differ in is not"
            f" restored, {_OTHERWISE}"
        )
    return config


def _settings(header: _Header) -> dict[str, Any]:
    """Return the arguments of the transformers configuration."""
    prefix = f"{header.architecture}."
    given = {
        key.removeprefix(prefix): value for key, value in header.values.items() if key.startswith(prefix)
    }
    settings = {name: _decimal(given[key]) for key, name in _RESTORED.items() if key in given}
    widths = {int(given[key]) for key in _HEAD_WIDTHS if key in given}
    if len(widths) > 1:
        raise AttnRulesError(
            f"model {header.path}: its heads have the widths {', '.join(map(str, sorted(widths)))}"
            f" ({', '.join(_HEAD_WIDTHS)}); they must be one, {_OTHERWISE}"
        )
    if widths and header.architecture != "qwen2":  # whose configuration has no width of its own
        settings["head_dim"] = widths.pop()
    settings["vocab_size"] = header.shapes.get("token_embd.weight", (0, 0))[-1]
    settings["tie_word_embeddings"] = "output.weight" not in header.shapes
    return settings


def _decimal(value: Any) -> Any:
    """Return the shortest decimal that a float32 stands for, which is what the model was made with."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def restore(path: Path, see: Callable[[Any], None] = lambda _: None) -> tuple[Any, Any]:
    """Return the transformers model of a GGUF file, float32 on the CPU, and its tokenizer.

    `see` is shown the model. Raises what `read_configuration` raises, and `AttnRulesError` for tensors that
    do not fit.
    """
    import torch
    from transformers import PreTrainedTokenizerFast

    header = _read_header(path)
    config = _configured(header)
    with _alone(path) as folder, _swiftly():
        model = WholeModel(str(path), see).from_pretrained(
            folder, gguf_file=path.name, config=config, dtype=torch.float32, attn_implementation="eager"
        )
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, gguf_file=path.name)
    # The weights are floats now: that they were in blocks before says nothing of the model.
    del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    return model, _as_trained(header, tokenizer)


@contextmanager
def _alone(path: Path) -> Iterator[str]:
    """Yield a folder with nothing else in it: transformers would read configurations that lie beside it."""
    with TemporaryDirectory() as folder:
        (Path(folder) / path.name).symlink_to(path.resolve())
        yield folder


def _read_header(path: Path) -> _Header:
    if importlib.util.find_spec("gguf") is None:
        raise AttnRulesError(
            f"model {path}: reading GGUF files takes the package gguf; pip install 'attnrules[gguf]'"
        )
    try:
        reader = _reader()(path)
        values = {key: field.contents() for key, field in reader.fields.items() if len(field.data) == 1}
        shapes = {tensor.name: tuple(map(int, tensor.shape)) for tensor in reader.tensors}
    except Exception as error:
        raise AttnRulesError(
            f"model {path}: cannot be read as GGUF: {one_line(error)}; the file is damaged or incomplete"
        ) from error
    return _Header(path, values, shapes)


def _reader() -> Any:
    """Return gguf's reader, made to slice plain arrays: slicing those of memmap takes three times as long."""
    from gguf import GGUFReader

    class PlainReader(GGUFReader):  # type: ignore[misc]
        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = np.asarray(mapped)

    return PlainReader


@contextmanager
def _swiftly() -> Iterator[None]:
    """Let transformers read by `_reader`, and make the table of names once, which it makes for each module.

    Of 20 CPU seconds for SmolLM2-135M this leaves 6.
    """
    import gguf

    kept = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    gguf.GGUFReader, gguf.get_tensor_name_map = _reader(), cache(gguf.get_tensor_name_map)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(gguf, name, value)


def _refuse_unknown(header: _Header) -> None:
    """Raise `AttnRulesError` naming the architecture, field or tokenizer that is not restored exactly."""
    architecture, values = header.architecture, header.values
    if architecture not in _ARCHITECTURES:
        raise AttnRulesError(
            f"model {header.path}: GGUF files of the architecture {architecture} are not supported"
            f" ({', '.join(_ARCHITECTURES)} are); {_OTHERWISE}"
        )
    prefix = f"{architecture}."
    known = {*_RESTORED, *_HEAD_WIDTHS, "vocab_size"}
    for key, value in values.items():
        if key.startswith(prefix) and key.removeprefix(prefix) not in known:
            raise AttnRulesError(
                f"model {header.path}: its header says {key} {str(value)[:40]}, which is not restored from"
                f" GGUF; {_OTHERWISE}"
            )
    kind, split = values.get("tokenizer.ggml.model"), values.get("tokenizer.ggml.pre")
    if kind != "gpt2" or split not in _SPLITS:
        raise AttnRulesError(
            f"model {header.path}: its tokenizer ({kind}, {split}) is not restored exactly from GGUF"
            f" (gpt2 with {', '.join(_SPLITS)} is); {_OTHERWISE}"
        )


def _as_trained(header: _Header, restored: Any) -> Any:
    """Return the tokenizer with what its own tokenizer.json has and transformers does not restore."""
    from tokenizers import normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = restored.backend_tokenizer
    split = header.values["tokenizer.ggml.pre"]
    if split == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    if split == "qwen2":
        backend.normalizer = normalizers.NFC()
    special = {f"{role}_token": getattr(restored, f"{role}_token") for role in ("bos", "eos", "unk", "pad")}
    # TransformerLens reads a tokenizer that does not add BOS a second time, from where it came from.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, name_or_path=header.path.name, add_bos_token=True, **special
    )
