"""What output features do to the logits directly, from the weights alone (method.md section 12.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnrules.ingest.sources.model import Model

if TYPE_CHECKING:
    from torch import Tensor

    from attnrules.ingest.sources.saes import Sae

# Tokens and features whose effects are held at once: 4,194,304 of them, 100 MB with all that is made of them.
_TOKENS, _FEATURES = 1 << 14, 1 << 8

# Returns what features [start, stop) write per unit of activation: [stop - start, d_model].
Directions = Callable[[int, int], "Tensor"]


@dataclass(frozen=True)
class Effects:
    """Effects of features on the logits of all tokens, centred over the tokens; on the CPU.

    Arguments:
        promoted, suppressed: [n, k] token ids, the largest and the smallest effect first, ties by id.
        promoted_effects, suppressed_effects: [n, k], the effects on these.
        write_norm: [n], length of what is written per unit of activation.
        deviation, kurtosis: [n], float64, over all tokens; kurtosis is NaN where all effects are 0.
    """

    promoted: Tensor
    promoted_effects: Tensor
    suppressed: Tensor
    suppressed_effects: Tensor
    write_norm: Tensor
    deviation: Tensor
    kurtosis: Tensor


def directions(model: Model, sae: Sae) -> Directions:
    """Return what the features of an output SAE write into the residual stream: u_f = d_f W_O.

    An SAE of one head writes through that head's W_O, one of all heads' outputs through all of them, and one
    on the attention's output writes d_f itself. A norm behind the attention multiplies by its weights.
    """
    decoder, at = sae.weights.decoder, sae.location
    matrix = None if at.hook_name.endswith("attn_out") else write_matrix(model, at.layer, at.head)
    gain = model.gain_behind_attention(at.layer)

    def rows(start: int, stop: int) -> Tensor:
        written = decoder[start:stop] if matrix is None else decoder[start:stop] @ matrix
        return written if gain is None else written * gain

    return rows


def write_matrix(model: Model, layer: int, head: int | None) -> Tensor:
    """Return the matrix [d_in, d_model] by which a head, or for None or -1 all heads together, write."""
    W_O = model.output_weights(layer)
    return W_O.flatten(0, 1) if head is None or head < 0 else W_O[head]


def token_effects(
    written: Directions,
    n_features: int,
    W_U: Tensor,
    n_kept: int,
    *,
    centred: bool,
    at_once: tuple[int, int] = (_TOKENS, _FEATURES),
) -> Effects:
    """Return the effects u . W_U[:,t] of features, less their mean over the tokens.

    Tokens and features are gone through in tiles, so that what is held does not grow with their product.

    Arguments:
        written: the directions u. W_U: [d_model, n_tokens], the unembedding with the final norm folded in.
        n_kept: tokens kept of each side. centred: whether the final norm removes the mean of what it reads.
        at_once: tokens and features of a tile.
    """
    import torch

    n_tokens = W_U.shape[1]
    tokens_at_once, at_once_features = at_once
    tiles = [(a, min(a + tokens_at_once, n_tokens)) for a in range(0, n_tokens, tokens_at_once)]
    sums = torch.stack([W_U[:, a:b].double().sum(dim=1) for a, b in tiles])
    mean = (sums.sum(dim=0) / n_tokens).float()[:, None]
    largest = [torch.empty((n_features, 0), dtype=torch.int64) for _ in range(2)]
    moments = torch.zeros((2, n_features), dtype=torch.float64)
    norms = torch.zeros(n_features)
    for a, b in tiles:
        tile = W_U[:, a:b] - mean
        found: list[list[Tensor]] = [[], []]
        for start in range(0, n_features, at_once_features):
            stop = min(start + at_once_features, n_features)
            u = written(start, stop).to(W_U.device)
            norms[start:stop] = u.norm(dim=1).cpu()
            effects = (u - u.mean(dim=1, keepdim=True) if centred else u) @ tile
            squares = effects.double().square()
            moments[0, start:stop] += squares.sum(dim=1).cpu()
            moments[1, start:stop] += squares.square().sum(dim=1).cpu()
            for side, signed in enumerate((effects, -effects)):
                keys = torch.cat([largest[side][start:stop].to(W_U.device), _sortable(signed, a)], dim=1)
                found[side].append(keys.topk(min(n_kept, keys.shape[1]), dim=1).values.cpu())
        largest = [torch.cat(side) for side in found]
    variance = moments[0] / n_tokens
    return Effects(
        *_decoded(largest[0]),
        *_decoded(largest[1], negative=True),
        write_norm=norms,
        deviation=variance.sqrt(),
        kurtosis=moments[1] / n_tokens / variance.square(),
    )


def _sortable(effects: Tensor, first_token: int) -> Tensor:
    """Return integers [n, t] that sort as (effect, then the smaller token id): a largest one is the same in
    any order of tiles, however many effects are equal."""
    import torch

    # Adding 0 makes -0 the 0 that it equals; the bits of a negative float sort the wrong way round.
    bits = (effects + 0.0).contiguous().view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    tokens = torch.arange(first_token, first_token + effects.shape[1], device=effects.device)
    return (ordered.long() << 32) + ((1 << 32) - 1 - tokens)


def _decoded(keys: Tensor, *, negative: bool = False) -> tuple[Tensor, Tensor]:
    import torch

    ordered = (keys >> 32).int()
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    effects = bits.view(torch.float32)
    return (1 << 32) - 1 - (keys & 0xFFFFFFFF), -effects if negative else effects
