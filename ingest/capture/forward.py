"""Rows of tokens in, sparse activations out: one forward pass serves every layer and head.

Hooks encode and discard: what leaves the device are sparse rows only. The pass stops after the last
hook that is needed, so the unembedding is never computed. `Capture.run` is the work of the device;
`Block.part`, the rest, belongs in another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest.capture.rotation import (
    Rotation,
    has_rotary_positions,
    logits_are_of_weights,
    read_rotation,
)
from attnrules.ingest.capture.sparse import Active, Columns, Copied, SparseSae, ToHost
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.model import Model
from attnrules.ingest.sources.sae_weights import Role
from attnrules.ingest.sources.saes import Sae
from attnrules.warehouse import WHOLE_LAYER

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = ("float32", "tf32", "bfloat16")
# Of features of SAEs over whole layers: what each head has brought, see `Part`.
CONTRIBUTIONS = "added_contributions"
# How far the outputs of heads may be from what their weights give, as a share of the largest.
_TOLERANCE = 1e-3


@contextmanager
def _exact_products() -> Iterator[None]:
    """Multiply float32 matrices as such in the block, whatever `--dtype` says."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _StopPassError(Exception):
    """Ends a forward pass once everything needed has been seen."""


@dataclass(frozen=True)
class Part:
    """Rows of one fact table from one layer (and head, None for none), sorted by sequence and position.

    A head of `WHOLE_LAYER` stands for the SAE over the whole layer. The table `CONTRIBUTIONS` is no fact
    table: what it holds is added to `feature_heads`.
    """

    table: str
    layer: int
    head: int | None
    columns: Columns


@dataclass(frozen=True)
class Block:
    """Rows of one fact table still on their way from the device.

    Arguments:
        table, layer, head: as in `Part`.
        copied: what the device yielded.
        build: makes the columns, without layer and head, of what was copied.
    """

    table: str
    layer: int
    head: int | None
    copied: Copied
    build: Callable[[Columns], Columns]

    def part(self) -> Part:
        """Wait for the copy and return the rows."""
        columns = self.build(self.copied.arrays())
        n_rows = len(next(iter(columns.values())))
        keys: Columns = {"layer": np.full(n_rows, self.layer, np.int16)}
        if self.head is not None:
            keys["head"] = np.full(n_rows, self.head, np.int16)
        return Part(self.table, self.layer, self.head, {**keys, **columns})


@dataclass(frozen=True)
class Targets:
    """What to capture; heads of `WHOLE_LAYER` stand for SAEs over whole layers.

    Arguments:
        layers: layers whose input features are stored.
        attention: (layer, head) pairs whose attention is stored.
        outputs: (layer, head) pairs whose output features are stored.
    """

    layers: tuple[int, ...]
    attention: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, outputs: Sequence[tuple[int, int]], n_heads: int) -> Targets:
        """Return what the features of these output SAEs need: attention of each head that one reads."""
        attention = {
            (layer, read)
            for layer, head in outputs
            for read in (range(n_heads) if head == WHOLE_LAYER else (head,))
        }
        layers = {layer for layer, _ in outputs}
        return cls(tuple(sorted(layers)), tuple(sorted(attention)), tuple(sorted(outputs)))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to capture; input features come with the heads that read them."""
        return not self.attention and not self.outputs

    @property
    def reconstructed_layers(self) -> list[int]:
        """Layers whose input SAE is run, ascending."""
        return sorted({*self.layers, *(layer for layer, _ in self.attention)})

    @property
    def all_layers(self) -> list[int]:
        """Layers that anything is captured from, ascending."""
        return sorted({*self.reconstructed_layers, *(layer for layer, _ in self.outputs)})

    def attention_of(self, layer: int) -> list[int]:
        """Heads of a layer whose attention is captured, ascending."""
        return sorted(head for at, head in self.attention if at == layer)

    def outputs_of(self, layer: int) -> list[int]:
        """Heads of a layer whose output features are captured, ascending."""
        return sorted(head for at, head in self.outputs if at == layer)


class Capture:
    """Turns token rows into the rows of the fact tables, on one device and in one thread.

    The attention computed from features (method.md section 3.5) is the model's own attention
    run on the reconstruction of the residual stream, so it is exact for any architecture whose attention
    reads the layer norm's output: rotations, masks, grouped keys and soft caps are the model's.
    """

    def __init__(
        self, model: Model, saes: Sequence[Sae], *, min_attention: float, dtype: str = "float32"
    ) -> None:
        self.model = model
        self._saes = saes
        self.input_saes = {s.location.layer: SparseSae(s) for s in saes if s.role == "input"}
        self.output_saes = {
            (s.location.layer, s.location.head): SparseSae(s) for s in saes if s.role == "output"
        }
        self.min_attention = min_attention
        self.dtype = dtype
        self.to_host = ToHost(model.device)
        self._require_hooks()

    def run(
        self,
        tokens: npt.NDArray[np.int64],
        first_seq: int,
        targets: Targets,
        check: Callable[[], None] = lambda: None,
    ) -> list[Block]:
        """Run the model on `tokens` [batch, seq_len] and return the rows of the fact tables.

        Row b of the batch is sequence `first_seq + b`. `check` is called many times a second and may
        raise to end the pass. Raises the device's out-of-memory error, having kept nothing.
        """
        batch = _Batch(self, targets, first_seq, tokens.shape, check)
        self._forward(tokens, batch.attention, batch.hooks(), self.dtype)
        return batch.blocks

    def verify(self, tokens: npt.NDArray[np.int64], layers: Sequence[int]) -> dict[int, Rotation | None]:
        """Make sure that a layer's attention is what its weights make of the layer norm of its own input.

        Returns, for layers with rotary positions, how they turn queries and keys: None where the logits
        of their heads are not those of the weights and of a rotation. Raises `AttnRulesError` naming the
        model when the attention, run again on its own input, has another pattern: then it reads something
        other than the layer norm of the residual stream and cannot be computed from features. Raises it too
        where the outputs of heads are not their pattern times what W_V makes of the input. All of it is
        tried in float32: rounding must neither hide another architecture nor look like one.
        """
        attention = _Attention(self.model, layers)
        streams: dict[int, Tensor] = {}
        rotations: dict[int, Rotation | None] = {}

        def keep(residual: Tensor, hook: Any, *, layer: int) -> None:  # noqa: ARG001
            streams[layer] = residual.detach()

        def compare(z: Tensor, *, layer: int) -> None:
            if float(attention.pattern.triu(1).abs().max()) > 0:
                raise AttnRulesError(
                    f"model {self.model.name}: layer {layer} attends to later positions; only decoders,"
                    " whose attention looks back, are supported"
                )
            stream = streams.pop(layer)
            again, _ = attention.of(layer, stream)
            difference = float((again - attention.pattern).abs().max())
            if not difference < 1e-3:
                raise AttnRulesError(
                    f"model {self.model.name}: the attention of layer {layer} is not a function of"
                    " its layer norm's output alone, so it cannot be computed from input features;"
                    " this architecture is not supported"
                )
            # As method.md section 1.1 has it: weights of the norm are in those of the heads.
            scaled = stream.float() / attention.scale.float()
            self._refuse_other_values(layer, scaled, attention.pattern, z)
            first = scaled[0], attention.pattern[0]
            if has_rotary_positions(self.model, attention.call):
                rotations[layer] = read_rotation(self.model, layer, first[0], attention.call, first[1])
            elif not logits_are_of_weights(self.model, layer, *first):
                raise AttnRulesError(
                    f"model {self.model.name}: the attention of layer {layer} is not what W_Q and W_K make of"
                    " the scaled residual stream (it may clip or normalise queries and keys), so rules cannot"
                    " be ranked by its weights; this model is not supported"
                )
            if layer == max(layers):
                raise _StopPassError

        hooks = attention.hooks()
        for layer in layers:
            hooks.append((_resid_pre(layer), partial(keep, layer=layer)))
            hooks += attention.hooks_when_seen(layer, partial(compare, layer=layer))
        try:
            with _exact_products():
                self._forward(tokens, attention, hooks, "float32")
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise AttnRulesError(
                f"model {self.model.name}: its attention cannot be run on another input ({one_line(error)});"
                " this architecture is not supported"
            ) from error
        return rotations

    def _refuse_other_values(self, layer: int, scaled: Tensor, pattern: Tensor, z: Tensor) -> None:
        """Raise unless z is `pattern` times the values that W_V and b_V make of the stream over its scale."""
        import torch

        x = scaled.cpu()
        weights = [self.model.head_weights(layer, head) for head in range(self.model.n_heads)]
        values = torch.stack([x @ w.W_V + w.b_V for w in weights], dim=1)
        expected = (pattern.float().cpu() @ values).transpose(1, 2)
        found = z.detach().float().cpu().reshape(expected.shape)
        if not float((found - expected).abs().max()) <= _TOLERANCE * float(found.abs().max()):
            raise AttnRulesError(
                f"model {self.model.name}: what the heads of layer {layer} put out is not their attention"
                " times what W_V makes of the scaled residual stream (it may clip, normalise or gate values),"
                " so features cannot be traced through their weights; this model is not supported"
            )

    def reconstruction_errors(self, tokens: npt.NDArray[np.int64]) -> dict[tuple[Role, Location], float]:
        """Return the share of variance that each SAE misses of what it reads on `tokens` [batch, pos].

        BOS is left out: its residual stream is so large that nothing else would count.
        """
        import torch

        rows = torch.as_tensor(tokens, device=self.model.device)
        errors: dict[tuple[Role, Location], float] = {}
        by_layer: dict[int, list[Sae]] = {}
        for sae in self._saes:
            by_layer.setdefault(sae.location.layer, []).append(sae)
        for layer, saes in by_layer.items():
            reading = read_layer(self.model, layer, rows)
            for sae in saes:
                x = reading.x(sae.location.head)[:, 1:]
                x = x.reshape(-1, x.shape[-1]).float()
                with torch.no_grad():
                    missed, read = sae.missed(x).square().sum(), sae.reads(x)
                spread = (read - read.mean(0)).square().sum().clamp_min(1e-30)
                errors[sae.role, sae.location] = float(missed / spread)
        return errors

    def _forward(
        self,
        tokens: npt.NDArray[np.int64],
        attention: _Attention,
        hooks: list[tuple[str, Any]],
        dtype: str,
    ) -> None:
        import torch

        bridge = self.model.bridge
        tensor = torch.as_tensor(tokens, device=self.model.device)
        rounding = (
            torch.autocast(self.model.device.type, dtype=torch.bfloat16)
            if dtype == "bfloat16"
            else nullcontext()
        )
        with (
            torch.no_grad(),
            rounding,
            attention.recorded(),
            bridge.hooks(fwd_hooks=hooks),
            suppress(_StopPassError),
        ):
            bridge(tensor, return_type=None, use_cache=False, prepend_bos=False)

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


class _Attention:
    """The attention of the layer that a forward pass is in, and the same run again on another input.

    `scale` [batch, pos, 1] and `pattern` [batch, n_heads, q, k] are those of the pass itself.
    """

    scale: Tensor
    pattern: Tensor

    def __init__(self, model: Model, layers: Sequence[int]) -> None:
        self._bridge = model.bridge
        self._layers = layers
        self._call: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self._again: dict[str, Tensor] | None = None

    @property
    def call(self) -> dict[str, Any]:
        """The arguments that the attention of the layer is called with by name."""
        return self._call[1]

    def hooks(self) -> list[tuple[str, Any]]:
        """Return the forward hooks that it needs."""
        return [
            hook
            for layer in self._layers
            for hook in ((_scale(layer), self._on_scale), (_pattern(layer), self._on_pattern))
        ]

    def hooks_when_seen(self, layer: int, act: Callable[[Tensor], None]) -> list[tuple[str, Any]]:
        """Return hooks that call `act` with z once the pattern and z of a layer were seen.

        Architectures differ in which of the two comes first.
        """
        seen: dict[str, Tensor] = {}

        def see(tensor: Tensor, hook: Any, *, what: str) -> None:  # noqa: ARG001
            if self._again is not None:
                return
            seen[what] = tensor
            if len(seen) == 2:
                z = seen["z"]
                seen.clear()
                act(z)

        return [
            (_pattern(layer), partial(see, what="pattern")),
            (_z(layer), partial(see, what="z")),
        ]

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record, while the block runs, how each attention is called, so that it can be called again."""
        handles = [
            self._bridge.blocks[layer].attn.register_forward_pre_hook(self._on_call, with_kwargs=True)
            for layer in self._layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def of(self, layer: int, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Return pattern and scale for another residual stream [batch, pos, d_model] entering `layer`.

        To be called from a hook on the layer's attention, after its pattern.
        """
        block = self._bridge.blocks[layer]
        positional, named = self._call
        again: dict[str, Tensor] = {}
        self._again = again
        try:
            with suppress(_StopPassError):
                normalized = block.ln1(residual)
                if positional:
                    block.attn(normalized, *positional[1:], **named)
                else:
                    block.attn(**{**named, "hidden_states": normalized})
        finally:
            self._again = None
        return again["pattern"], again["scale"]

    def _on_call(self, _: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._again is None:
            without_cache = {**named, "past_key_values": None} if "past_key_values" in named else named
            self._call = (positional, without_cache)

    def _on_scale(self, scale: Tensor, hook: Any) -> None:  # noqa: ARG002
        if self._again is None:
            self.scale = scale.detach()
        else:
            self._again["scale"] = scale.detach()

    def _on_pattern(self, pattern: Tensor, hook: Any) -> None:  # noqa: ARG002
        if self._again is None:
            self.pattern = pattern.detach()
        else:
            self._again["pattern"] = pattern.detach()
            raise _StopPassError


class _Batch:
    """One forward pass: what it has yielded so far, and the layer that it is in."""

    def __init__(
        self,
        capture: Capture,
        targets: Targets,
        first_seq: int,
        shape: tuple[int, ...],
        check: Callable[[], None],
    ) -> None:
        self.capture = capture
        self.targets = targets
        self.blocks: list[Block] = []
        self.attention = _Attention(capture.model, targets.reconstructed_layers)
        self._check = check
        self._last_layer = targets.all_layers[-1]
        # Of every token of the batch, in order.
        sequence, position = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
        self._sequences = (sequence + first_seq).astype(np.int32)
        self._positions = position.astype(np.int32)

    def hooks(self) -> list[tuple[str, Any]]:
        """Return the forward hooks."""
        hooks = self.attention.hooks()
        for layer in self.targets.reconstructed_layers:
            hooks.append((_resid_pre(layer), partial(self._on_residual, layer=layer)))
        for layer in self.targets.all_layers:
            if layer in self.targets.reconstructed_layers:
                hooks += self.attention.hooks_when_seen(layer, partial(self._on_z, layer=layer))
            else:
                hooks.append((_z(layer), lambda z, hook, layer=layer: self._on_z(z, layer=layer)))  # noqa: ARG005
        return hooks

    def _on_residual(self, residual: Tensor, hook: Any, *, layer: int) -> None:  # noqa: ARG002
        import torch

        x = residual.detach().reshape(-1, residual.shape[-1]).float()
        rebuilt: list[Tensor] = []
        for active in self.capture.input_saes[layer].active(x, decode=True, check=self._check):
            rebuilt.append(active.rebuilt)
            if layer in self.targets.layers:
                self._add_active("input_activations", layer, None, active)
        flat = torch.cat(rebuilt)
        self._error = (x - flat).square().sum(-1) / x.square().sum(-1).clamp_min(1e-30)
        self._rebuilt = flat.reshape(residual.shape).to(residual.dtype)

    def _on_z(self, z: Tensor, *, layer: int) -> None:
        z = z.detach().reshape(z.shape[0] * z.shape[1], self.capture.model.n_heads, -1).float()
        for head in self.targets.outputs_of(layer):
            sae = self.capture.output_saes[layer, head]
            x = z.flatten(1) if head == WHOLE_LAYER else z[:, head]
            for active in sae.active(x, decode=False, check=self._check):
                self._add_active("output_activations", layer, head, active)
                if head == WHOLE_LAYER:
                    self._add_contributions(layer, sae, active, z)
        self._check()
        if layer in self.targets.reconstructed_layers:
            self._add_attention(layer, self.targets.attention_of(layer))
        if layer == self._last_layer:
            raise _StopPassError

    def _add_contributions(self, layer: int, sae: SparseSae, active: Active, z: Tensor) -> None:
        """Add what each head brings to the active features of an SAE over its whole layer."""
        n_heads = z.shape[1]

        def build(arrays: Columns) -> Columns:
            return {
                "feature": np.repeat(arrays["features"], n_heads),
                "through_head": np.tile(np.arange(n_heads, dtype=np.int16), len(arrays["features"])),
                "units": arrays["units"].reshape(-1),
            }

        features, units = sae.contributions(active, z)
        tensors = {"features": features, "units": units}
        self.blocks.append(Block(CONTRIBUTIONS, layer, None, self.capture.to_host.copy(tensors), build))

    def _add_active(self, table: str, layer: int, head: int | None, active: Active) -> None:
        import torch

        def build(arrays: Columns) -> Columns:
            kept = arrays["values"] > 0
            if not kept.all():
                arrays = {name: array[kept] for name, array in arrays.items()}
            return {
                "seq_id": self._sequences[arrays["rows"]],
                "pos": self._positions[arrays["rows"]],
                "feature": arrays["features"],
                "activation": arrays["values"],
            }

        tensors = {
            "rows": active.rows.to(torch.int32),
            "features": active.features.to(torch.int32),
            "values": active.values,
        }
        self.blocks.append(Block(table, layer, head, self.capture.to_host.copy(tensors), build))

    def _add_attention(self, layer: int, heads: list[int]) -> None:
        """Add the attention and scales of a layer, both the model's and those from the features."""
        from_features, scale = self.attention.of(layer, self._rebuilt)
        if layer in self.targets.layers:
            scales = {
                "ln_scale": self.attention.scale.reshape(-1).float(),
                "ln_scale_from_features": scale.reshape(-1).float(),
                "reconstruction_error": self._error,
            }
            where: Columns = {"seq_id": self._sequences, "pos": self._positions}
            copied = self.capture.to_host.copy(scales)
            self.blocks.append(Block("token_scales", layer, None, copied, lambda arrays: {**where, **arrays}))
        least = self.capture.min_attention
        for head in heads:
            pattern = self.attention.pattern[:, head].reshape(-1).float()
            rebuilt = from_features[:, head].reshape(-1).float()
            at = ((pattern > least) | (rebuilt > least)).nonzero().squeeze(1)
            tensors = {"at": at, "weight": pattern[at], "weight_from_features": rebuilt[at]}
            copied = self.capture.to_host.copy(tensors)
            self.blocks.append(Block("attention_sources", layer, head, copied, self._build_attention))

    def _build_attention(self, arrays: Columns) -> Columns:
        seq_len = 1 + int(self._positions[-1])
        query, key = np.divmod(arrays.pop("at"), seq_len)
        return {
            "seq_id": self._sequences[query],
            "query_pos": self._positions[query],
            "key_pos": key.astype(np.int32),
            **arrays,
        }


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

    def x(self, head: int | None) -> Tensor:
        """Return what an SAE is given (see `Sae`): [batch, pos, width]."""
        if head is None:
            return self.residual
        return self.z.flatten(2) if head == WHOLE_LAYER else self.z[:, :, head]


def read_stream(model: Model, tokens: Tensor) -> Tensor:
    """Run the model on `tokens` [batch, pos] up to its first layer: [batch, pos, d_model], what enters it."""
    import torch

    seen: list[Tensor] = []

    def stop(residual: Tensor, hook: Any) -> None:  # noqa: ARG001
        seen.append(residual.detach().float())
        raise _StopPassError

    with torch.no_grad(), model.bridge.hooks(fwd_hooks=[(_resid_pre(0), stop)]), suppress(_StopPassError):
        model.bridge(tokens, return_type=None, use_cache=False, prepend_bos=False)
    return seen[0]


def read_layer(model: Model, layer: int, tokens: Tensor) -> LayerReading:
    """Run the model on `tokens` [batch, pos] up to the heads of `layer` and return what they did."""
    import torch

    seen: dict[str, Tensor] = {}

    def keep(tensor: Tensor, hook: Any, *, name: str) -> None:  # noqa: ARG001
        seen[name] = tensor.detach()

    names = (_resid_pre(layer), _pattern(layer), _z(layer))

    def stop(_: Tensor, hook: Any) -> None:  # noqa: ARG001
        if all(name in seen for name in names):
            raise _StopPassError

    hooks: list[tuple[str, Any]] = [(name, partial(keep, name=name)) for name in names]
    hooks += [(_pattern(layer), stop), (_z(layer), stop)]
    with torch.no_grad(), model.bridge.hooks(fwd_hooks=hooks), suppress(_StopPassError):
        model.bridge(tokens, return_type=None, use_cache=False, prepend_bos=False)
    residual, pattern, z = (seen[name] for name in names)
    return LayerReading(residual, pattern, z.reshape(*z.shape[:2], model.n_heads, -1))


@dataclass(frozen=True)
class EndReading:
    """What left the model at one position of every sequence of a batch.

    Arguments:
        scale: [batch], of the final norm. normalized: [batch, d_model], what is unembedded.
        logits: [batch, vocab_size].
    """

    scale: Tensor
    normalized: Tensor
    logits: Tensor


def read_end(
    model: Model, tokens: Tensor, positions: Tensor, hooks: Sequence[tuple[str, Any]] = ()
) -> EndReading:
    """Run the model on `tokens` [batch, pos] to its end and return what leaves it at `positions` [batch].

    `hooks` may change what it computes. Only these positions are unembedded.
    """
    import torch

    rows = torch.arange(len(tokens), device=tokens.device)
    seen: dict[str, Tensor] = {}

    def keep_scale(scale: Tensor, hook: Any) -> None:  # noqa: ARG001
        seen["scale"] = scale.detach()[rows, positions].reshape(-1).float()

    def keep_one(normalized: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        seen["normalized"] = normalized.detach()[rows, positions]
        return seen["normalized"][:, None]

    ends = [("ln_final.hook_scale", keep_scale), ("unembed.hook_in", keep_one)]
    with torch.no_grad(), model.bridge.hooks(fwd_hooks=[*hooks, *ends]):
        logits = model.bridge(tokens, return_type="logits", use_cache=False, prepend_bos=False)
    return EndReading(seen["scale"], seen["normalized"].float(), logits[:, -1].float())


def read_final_scales(model: Model, tokens: Tensor) -> Tensor:
    """Run the model on `tokens` [batch, pos] and return the scale of its final norm: [batch, pos]."""
    import torch

    seen: list[Tensor] = []

    def stop(scale: Tensor, hook: Any) -> None:  # noqa: ARG001
        seen.append(scale.detach().float())
        raise _StopPassError

    hooks = [("ln_final.hook_scale", stop)]
    with torch.no_grad(), model.bridge.hooks(fwd_hooks=hooks), suppress(_StopPassError):
        model.bridge(tokens, return_type=None, use_cache=False, prepend_bos=False)
    return seen[0].reshape(tokens.shape)


def _resid_pre(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_pre"


def _scale(layer: int) -> str:
    return f"blocks.{layer}.ln1.hook_scale"


def _pattern(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_pattern"


def _z(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_z"
