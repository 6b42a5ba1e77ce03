"""How a layer turns its queries and keys by their positions, read off what its attention is called with.

What is read is tried: it counts only where it gives the attention of the model again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnrules.ingest.sources.model import Model

if TYPE_CHECKING:
    from torch import Tensor

# How far a rebuilt pattern may be from the model's. A wrong rotation is off by nearly 1 somewhere.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Rotation:
    """The rotation of a layer's queries and keys (method.md section 2.4); a row of `rotations` per head.

    Arguments:
        frequencies: [n_pairs], radians per position; empty where the layer turns nothing.
        pairing: which of the first 2 n_pairs dimensions are turned together: `halves`, pair f being (f,
            f + n_pairs), or `adjacent`, pair f being (2 f, 2 f + 1).
        magnitude: factor on what is turned, of queries and of keys; 1 but under YaRN and its kin.
    """

    frequencies: tuple[float, ...]
    pairing: str
    magnitude: float

    def applied(self, vectors: Tensor) -> Tensor:
        """Turn vectors [..., pos, d_head] by their positions 0, 1, ..."""
        import torch

        n = len(self.frequencies)
        positions = torch.arange(vectors.shape[-2], dtype=vectors.dtype)
        angles = torch.outer(positions, torch.tensor(self.frequencies, dtype=vectors.dtype))
        if self.pairing == "halves":
            at = slice(0, n), slice(n, 2 * n)
        else:
            at = slice(0, 2 * n, 2), slice(1, 2 * n, 2)
        first, second = (vectors[..., places] for places in at)
        cos, sin = self.magnitude * angles.cos(), self.magnitude * angles.sin()
        turned = vectors.clone()
        turned[..., at[0]] = first * cos - second * sin
        turned[..., at[1]] = second * cos + first * sin
        return turned


def has_rotary_positions(model: Model, call: Mapping[str, Any]) -> bool:
    """Say whether a layer's attention, called with `call`, may turn queries and keys."""
    return (
        call.get("position_embeddings") is not None
        or str(model.bridge.cfg.positional_embedding_type) == "rotary"
    )


def read_rotation(
    model: Model, layer: int, scaled: Tensor, call: Mapping[str, Any], pattern: Tensor
) -> Rotation | None:
    """Return how a layer turns its queries and keys, None where that is not found out.

    Arguments:
        scaled: [pos, d_model], the stream entering the layer over the scale of its norm. call: what its
            attention is called with by name.
        pattern: [n_heads, query, key], its attention, which the rotation has to give again.
    """
    queries, keys = _queries_and_keys(model, layer, scaled)
    for rotation in _candidates(call.get("position_embeddings"), model.d_head):
        logits = _logits(model, layer, rotation.applied(queries), rotation.applied(keys))
        if _give(logits, pattern):
            return rotation
    return None


def logits_are_of_weights(model: Model, layer: int, scaled: Tensor, pattern: Tensor) -> bool:
    """Say whether the logits of a layer that turns nothing are those of its weights; as `read_rotation`.

    ALiBi lets them fall with the distance, by a slope of each head.
    """
    import torch

    logits = _logits(model, layer, *_queries_and_keys(model, layer, scaled))
    if str(model.bridge.cfg.positional_embedding_type) == "alibi":
        # From one key to the next; what is masked, or rounded to nothing, says nothing.
        steps = (pattern.detach().double().cpu().log() - logits).diff(dim=-1).flatten(1)
        slopes = torch.where(steps.isfinite(), steps, torch.nan).nanmedian(dim=1).values
        logits = logits + slopes[:, None, None] * torch.arange(logits.shape[-1])
    return _give(logits, pattern)


def _queries_and_keys(model: Model, layer: int, scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the weights of a layer make of `scaled` [pos, d_model]: each [n_heads, pos, d_head]."""
    import torch

    x = scaled.detach().double().cpu()
    weights = [model.head_weights(layer, head) for head in range(model.n_heads)]
    queries, keys = (
        torch.stack([x @ getattr(w, f"W_{name}").double() + getattr(w, f"b_{name}") for w in weights])
        for name in "QK"
    )
    return queries, keys


def _logits(model: Model, layer: int, queries: Tensor, keys: Tensor) -> Tensor:
    import torch

    logits = queries @ keys.mT / model.attn_scale(layer)
    cap = model.soft_cap(layer)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _give(logits: Tensor, pattern: Tensor) -> bool:
    """Say whether the softmax of `logits` is `pattern`, both [n_heads, query, key]."""
    import torch

    expected = pattern.detach().double().cpu()
    # What the model masks, later positions and those beyond a window, has no attention at all.
    rebuilt = logits.masked_fill(expected == 0, -torch.inf).softmax(-1)
    return float((rebuilt - expected).abs().max()) < _TOLERANCE


def _candidates(positions: Any, d_head: int) -> Iterator[Rotation]:
    """Yield the rotations that the cosines and sines given to an attention may stand for.

    Libraries hand on one of each pair, or both, in the order of either pairing.
    """
    import torch

    if isinstance(positions, tuple) and len(positions) == 2 and positions[0].shape[-2] > 1:
        cos, sin = (table.detach().double().cpu().reshape(-1, *table.shape[-2:])[0] for table in positions)
        if not cos[0].any():  # GPT-J hands on the sines first
            cos, sin = sin, cos
        # A magnitude of 1 is not to be off by the rounding of cosines.
        angles, magnitude = torch.atan2(sin[1], cos[1]), round(float(torch.hypot(sin[1], cos[1]).mean()), 6)
        width = cos.shape[-1]
        half = width // 2
        if width <= d_head and torch.equal(cos[:, :half], cos[:, width - half :]):
            yield Rotation(tuple(angles[:half].tolist()), "halves", magnitude)
        if width <= d_head and torch.equal(cos[:, ::2][:, :half], cos[:, 1::2]):
            yield Rotation(tuple(angles[1::2].tolist()), "adjacent", magnitude)
        if 2 * width <= d_head:
            yield Rotation(tuple(angles.tolist()), "adjacent", magnitude)
            yield Rotation(tuple(angles.tolist()), "halves", magnitude)
    yield Rotation((), "halves", 1.0)
