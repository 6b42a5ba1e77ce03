"""Rows of tokens in, sparse activations out: one forward pass serves every layer and head.

Hooks encode and discard: what leaves the device are sparse rows only. The pass stops after the last
hook that is needed, so the unembedding is never computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnrules.errors import AttnRulesError
from attnrules.ingest.model import Model
from attnrules.ingest.saes import Location, Sae

if TYPE_CHECKING:
    from torch import Tensor

Columns = dict[str, npt.NDArray[Any]]

# Largest dense block of activations held at once, in floats (256 MB).
_ENCODE_FLOATS = 1 << 26


class _StopPassError(Exception):
    """Ends a forward pass once everything needed has been seen."""


@dataclass(frozen=True)
class Part:
    """Rows of one fact table from one layer (and head, -1 for none), sorted by sequence and position."""

    table: str
    layer: int
    head: int
    columns: Columns


@dataclass(frozen=True)
class Targets:
    """What to capture: the input features of `layers`, and the output features and attention of `heads`.

    Arguments:
        layers: layers whose input SAE is encoded.
        heads: (layer, head) pairs.
    """

    layers: tuple[int, ...]
    heads: tuple[tuple[int, int], ...]

    @property
    def all_layers(self) -> list[int]:
        """Layers that anything is captured from, ascending."""
        return sorted({*self.layers, *(layer for layer, _ in self.heads)})

    def heads_of(self, layer: int) -> list[int]:
        """Heads captured in a layer, ascending."""
        return sorted(head for at, head in self.heads if at == layer)


class Capture:
    """Turns token rows into the rows of the fact tables.

    The attention computed from features (METHOD.md section 3, `weighted`) is the model's own attention
    run on the reconstruction of the residual stream, so it is exact for any architecture whose attention
    reads the layer norm's output: rotations, masks, grouped keys and soft caps are the model's.
    """

    def __init__(self, model: Model, saes: Sequence[Sae], *, min_attention: float) -> None:
        self.model = model
        self.input_saes = {s.location.layer: s for s in saes if s.role == "input"}
        self.output_saes = {(s.location.layer, s.location.head): s for s in saes if s.role == "output"}
        self.min_attention = min_attention
        self._require_hooks()

    def run(self, tokens: npt.NDArray[np.int64], first_seq: int, targets: Targets) -> list[Part]:
        """Run the model on `tokens` [batch, seq_len] and return the rows of the fact tables.

        Row b of the batch is sequence `first_seq + b`. Raises the device's out-of-memory error, having
        kept nothing.
        """
        import torch

        batch = _Batch(self, targets, first_seq)
        with torch.no_grad():
            tensor = torch.as_tensor(tokens, device=self.model.device)
            with _attention_arguments(self.model, targets.all_layers) as arguments:
                self._forward(tensor, batch.hooks())
            for layer in targets.all_layers:
                weights, scales = self._attention_from_features(
                    layer, batch.reconstructions.pop(layer), arguments[layer]
                )
                batch.finish_layer(layer, weights, scales)
        return batch.parts

    def verify(self, tokens: npt.NDArray[np.int64], layers: Sequence[int]) -> None:
        """Make sure that a layer's attention, run again on its own input, gives its own pattern.

        Raises `AttnRulesError` naming the model when it does not: then the attention reads something
        other than the layer norm of the residual stream and cannot be computed from features.
        """
        import torch

        seen: dict[tuple[int, str], Tensor] = {}

        def keep(tensor: Tensor, hook: Any, *, key: tuple[int, str]) -> None:  # noqa: ARG001
            seen[key] = tensor.detach().clone()

        hooks = [
            (name, partial(keep, key=(layer, what)))
            for layer in layers
            for what, name in (("x", _resid_pre(layer)), ("pattern", _pattern(layer)))
        ]
        with torch.no_grad():
            tensor = torch.as_tensor(tokens, device=self.model.device)
            with _attention_arguments(self.model, layers) as arguments:
                self._forward(tensor, [*hooks, *_stop_after(max(layers))])
            for layer in layers:
                if float(seen[layer, "pattern"].triu(1).abs().max()) > 0:
                    raise AttnRulesError(
                        f"model {self.model.name}: layer {layer} attends to later positions; only decoders,"
                        " whose attention looks back, are supported"
                    )
                again, _ = self._attention_from_features(layer, seen[layer, "x"], arguments[layer])
                difference = float((again - seen[layer, "pattern"]).abs().max())
                if not difference < 1e-3:
                    raise AttnRulesError(
                        f"model {self.model.name}: the attention of layer {layer} is not a function of"
                        " its layer norm's output alone, so it cannot be computed from input features;"
                        " this architecture is not supported"
                    )

    def _forward(self, tokens: Tensor, hooks: list[tuple[str, Any]]) -> None:
        bridge = self.model.bridge
        with bridge.hooks(fwd_hooks=hooks), suppress(_StopPassError):
            bridge(tokens, return_type=None, use_cache=False, prepend_bos=False)

    def _attention_from_features(
        self, layer: int, residual: Tensor, arguments: _AttentionArguments
    ) -> tuple[Tensor, Tensor]:
        """Return the pattern [batch, n_heads, q, k] and scale [batch, pos] for a residual stream."""
        block = self.model.bridge.blocks[layer]
        seen: dict[str, Tensor] = {}

        def keep_scale(tensor: Tensor, hook: Any) -> None:  # noqa: ARG001
            seen["scale"] = tensor.squeeze(-1)

        def keep_pattern(tensor: Tensor, hook: Any) -> None:  # noqa: ARG001
            seen["pattern"] = tensor
            raise _StopPassError

        hooks = [(_scale(layer), keep_scale), (_pattern(layer), keep_pattern)]
        with self.model.bridge.hooks(fwd_hooks=hooks), suppress(_StopPassError):
            arguments.call(block.attn, block.ln1(residual))
        return seen["pattern"], seen["scale"]

    def _require_hooks(self) -> None:
        available = self.model.bridge.hook_dict
        layers = sorted({*self.input_saes, *(layer for layer, _ in self.output_saes)})
        for layer in layers:
            for name in (_resid_pre(layer), _pattern(layer), _z(layer), _scale(layer)):
                if name not in available:
                    raise AttnRulesError(
                        f"model {self.model.name}: its architecture does not expose {name}, which ingest"
                        " reads; this model is not supported"
                    )


class _Batch:
    """What one forward pass has yielded so far."""

    def __init__(self, capture: Capture, targets: Targets, first_seq: int) -> None:
        self.capture = capture
        self.targets = targets
        self.first_seq = first_seq
        self.reconstructions: dict[int, Tensor] = {}
        self._patterns: dict[int, Tensor] = {}
        self._scales: dict[int, Tensor] = {}
        self._errors: dict[int, npt.NDArray[Any]] = {}
        self.parts: list[Part] = []

    def hooks(self) -> list[tuple[str, Any]]:
        """Return the forward hooks, in no particular order."""
        hooks: list[tuple[str, Any]] = []
        layers = self.targets.all_layers
        for layer in layers:
            hooks.append((_resid_pre(layer), partial(self._on_residual, layer=layer)))
            hooks.append((_scale(layer), partial(self._on_scale, layer=layer)))
            hooks.append((_pattern(layer), partial(self._on_pattern, layer=layer)))
            hooks.append((_z(layer), partial(self._on_z, layer=layer)))
        hooks += _stop_after(layers[-1])
        return hooks

    def finish_layer(self, layer: int, from_features: Tensor, scales: Tensor) -> None:
        """Add the attention and scales of a layer, now that both versions of each are known."""
        if heads := self.targets.heads_of(layer):
            self._add_attention(layer, heads, from_features[:, heads])
        if layer in self.targets.layers:
            scale = self._scales.pop(layer)
            n_seqs, seq_len = scale.shape
            seq, pos = np.divmod(np.arange(n_seqs * seq_len), seq_len)
            columns: Columns = {
                "seq_id": (seq + self.first_seq).astype(np.uint32),
                "pos": pos.astype(np.uint16),
                "ln_scale": _numpy(scale).reshape(-1),
                "ln_scale_from_features": _numpy(scales).reshape(-1),
                "reconstruction_error": self._errors.pop(layer),
            }
            self._add("token_scales", layer, -1, columns)

    def _on_residual(self, residual: Tensor, hook: Any, *, layer: int) -> None:  # noqa: ARG002
        import torch

        sae = self.capture.input_saes[layer]
        n_seqs, seq_len, d_model = residual.shape
        x = residual.detach().reshape(-1, d_model).float()
        rebuilt = torch.empty_like(x)
        store = layer in self.targets.layers
        for start, activations in _encode_in_blocks(sae, x):
            stop = start + len(activations)
            rebuilt[start:stop] = sae.module.decode(activations).float()
            if store:
                self._add("input_activations", layer, -1, self._sparse(activations, start, seq_len))
        self.reconstructions[layer] = rebuilt.reshape(n_seqs, seq_len, d_model).to(residual.dtype)
        if store:
            error = (x - rebuilt).square().sum(-1) / x.square().sum(-1).clamp_min(1e-30)
            self._errors[layer] = _numpy(error)

    def _on_scale(self, scale: Tensor, hook: Any, *, layer: int) -> None:  # noqa: ARG002
        self._scales[layer] = scale.detach().squeeze(-1)

    def _on_pattern(self, pattern: Tensor, hook: Any, *, layer: int) -> None:  # noqa: ARG002
        if heads := self.targets.heads_of(layer):
            self._patterns[layer] = pattern.detach()[:, heads]

    def _on_z(self, z: Tensor, hook: Any, *, layer: int) -> None:  # noqa: ARG002
        heads = self.capture.model.n_heads
        z = z.detach().reshape(z.shape[0], z.shape[1], heads, -1)
        for head in self.targets.heads_of(layer):
            sae = self.capture.output_saes[layer, head]
            x = z[:, :, head].reshape(-1, z.shape[-1]).float()
            for start, activations in _encode_in_blocks(sae, x):
                rows = self._sparse(activations, start, z.shape[1])
                self._add("output_activations", layer, head, rows)

    def _sparse(self, activations: Tensor, start: int, seq_len: int) -> Columns:
        rows, features = (activations > 0).nonzero(as_tuple=True)
        values = activations[rows, features]
        seq, pos = np.divmod(_numpy(rows) + start, seq_len)
        return {
            "seq_id": (seq + self.first_seq).astype(np.uint32),
            "pos": pos.astype(np.uint16),
            "feature": _numpy(features).astype(np.uint32),
            "activation": _numpy(values.float()),
        }

    def _add_attention(self, layer: int, heads: list[int], from_features: Tensor) -> None:
        pattern = self._patterns.pop(layer).transpose(0, 1)
        from_features = from_features.transpose(0, 1)
        least = self.capture.min_attention
        kept = ((pattern > least) | (from_features > least)).nonzero(as_tuple=True)
        columns: Columns = {
            "seq_id": (_numpy(kept[1]) + self.first_seq).astype(np.uint32),
            "query_pos": _numpy(kept[2]).astype(np.uint16),
            "key_pos": _numpy(kept[3]).astype(np.uint16),
            "weight": _numpy(pattern[kept].float()),
            "weight_from_features": _numpy(from_features[kept].float()),
        }
        # `nonzero` lists head after head: the rows of one head are a slice.
        bounds = np.searchsorted(_numpy(kept[0]), np.arange(len(heads) + 1))
        for index, head in enumerate(heads):
            rows = slice(bounds[index], bounds[index + 1])
            of_head = {name: column[rows] for name, column in columns.items()}
            self._add("attention_sources", layer, head, of_head)

    def _add(self, table: str, layer: int, head: int, columns: Columns) -> None:
        n_rows = len(columns["seq_id"])
        keys: Columns = {"layer": np.full(n_rows, layer, np.uint8)}
        if head >= 0:
            keys["head"] = np.full(n_rows, head, np.uint8)
        self.parts.append(Part(table, layer, head, {**keys, **columns}))


@dataclass
class _AttentionArguments:
    """How a layer's attention was called, so that it can be called again on another input."""

    positional: tuple[Any, ...]
    named: dict[str, Any]

    def call(self, attn: Any, normalized: Tensor) -> None:
        """Run `attn` on `normalized` [batch, pos, d_model] in place of what it was called with."""
        if self.positional:
            attn(normalized, *self.positional[1:], **self.named)
        else:
            attn(**{**self.named, "hidden_states": normalized})


@dataclass(frozen=True)
class LayerReading:
    """What the heads of one layer did on a batch of sequences.

    Arguments:
        residual: [batch, pos, d_model], the stream entering the layer.
        pattern: [batch, n_heads, query, key]. z: [batch, pos, n_heads, d_head], the heads' outputs.
    """

    residual: Tensor
    pattern: Tensor
    z: Tensor


def read_layer(model: Model, layer: int, tokens: Tensor) -> LayerReading:
    """Run the model on `tokens` [batch, pos] up to the heads of `layer` and return what they did."""
    import torch

    seen: dict[str, Tensor] = {}

    def keep(tensor: Tensor, hook: Any, *, name: str) -> None:  # noqa: ARG001
        seen[name] = tensor.detach()

    names = (_resid_pre(layer), _pattern(layer), _z(layer))
    hooks = [*((name, partial(keep, name=name)) for name in names), *_stop_after(layer)]
    with torch.no_grad(), model.bridge.hooks(fwd_hooks=hooks), suppress(_StopPassError):
        model.bridge(tokens, return_type=None, use_cache=False, prepend_bos=False)
    residual, pattern, z = (seen[name] for name in names)
    return LayerReading(residual, pattern, z.reshape(*z.shape[:2], model.n_heads, -1))


@contextmanager
def _attention_arguments(model: Model, layers: Sequence[int]) -> Iterator[dict[int, _AttentionArguments]]:
    recorded: dict[int, _AttentionArguments] = {}

    def record(_: Any, positional: tuple[Any, ...], named: dict[str, Any], *, layer: int) -> None:
        without_cache = {**named, "past_key_values": None} if "past_key_values" in named else named
        recorded[layer] = _AttentionArguments(positional, without_cache)

    handles = [
        model.bridge.blocks[layer].attn.register_forward_pre_hook(
            partial(record, layer=layer), with_kwargs=True
        )
        for layer in layers
    ]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def locations_of(targets: Targets) -> list[Location]:
    """Return the SAE locations that capturing `targets` needs, input SAEs first."""
    inputs = [Location(layer) for layer in targets.all_layers]
    return [*inputs, *(Location(layer, head) for layer, head in targets.heads)]


def _encode_in_blocks(sae: Sae, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    step = max(1, _ENCODE_FLOATS // sae.d_sae)
    for start in range(0, len(x), step):
        yield start, sae.module.encode(x[start : start + step])


def _stop_after(layer: int) -> list[tuple[str, Any]]:
    """Return hooks that end the pass once the pattern and z of a layer are seen, in whichever order."""
    unseen = {_pattern(layer), _z(layer)}

    def stop(tensor: Tensor, hook: Any, *, name: str) -> None:  # noqa: ARG001
        unseen.discard(name)
        if not unseen:
            raise _StopPassError

    return [(name, partial(stop, name=name)) for name in sorted(unseen)]


def _numpy(tensor: Tensor) -> npt.NDArray[Any]:
    return tensor.detach().cpu().numpy()


def _resid_pre(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_pre"


def _scale(layer: int) -> str:
    return f"blocks.{layer}.ln1.hook_scale"


def _pattern(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_pattern"


def _z(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_z"
