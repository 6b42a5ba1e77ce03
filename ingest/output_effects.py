"""What output features do to the logits directly, from the weights alone (method.md section 12.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnrules.ingest.sources.model import Model
from attnrules.warehouse import WHOLE_LAYER

if TYPE_CHECKING:
    from torch import Tensor

    from attnrules.ingest.sources.saes import Sae

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[Any]

# Tokens and features whose effects are held at once: 4,194,304 of them, 16 MB, and a few times that.
_TOKENS, _FEATURES = 1 << 14, 1 << 8
# Effects of which only the largest is looked at first, and that are added up in float32.
_BLOCK = 128

# Returns what features [start, stop) write per unit of activation: [stop - start, d_model].
Directions = Callable[[int, int], "Tensor"]


@dataclass(frozen=True)
class Ranked:
    """The first tokens of one side of features, in order of feature and rank.

    Arguments:
        feature, rank, token, effect: [m], ranks from 1; the largest effect in size first, ties by token.
    """

    feature: Ints
    rank: Ints
    token: Ints
    effect: Floats


@dataclass(frozen=True)
class Effects:
    """Effects of features on the logits of all tokens, centred over the tokens.

    Arguments:
        promoted, suppressed: the first tokens with an effect above and below 0.
        write_norm: [n], length of what is written per unit of activation.
        deviation, kurtosis: [n], over all tokens; kurtosis is NaN where all effects are 0.
    """

    promoted: Ranked
    suppressed: Ranked
    write_norm: Floats
    deviation: Floats
    kurtosis: Floats


def directions(model: Model, sae: Sae) -> Directions:
    """Return what the features of an output SAE write into the residual stream: u_f = d_f W_O.

    An SAE of one head writes through that head's W_O, one of all heads' outputs through all of them, and one
    on the attention's output writes d_f itself. A norm behind the attention multiplies by its weights.
    """
    decoder, layer = sae.weights.decoder, sae.location.layer
    matrix = None if sae.output_map is not None else write_matrix(model, layer, sae.location.head)
    gain = model.gain_behind_attention(layer)

    def rows(start: int, stop: int) -> Tensor:
        written = decoder[start:stop] if matrix is None else decoder[start:stop] @ matrix
        return written if gain is None else written * gain

    return rows


def write_matrix(model: Model, layer: int, head: int | None) -> Tensor:
    """Return the matrix [d_in, d_model] by which a head, or all heads for `WHOLE_LAYER`, write."""
    W_O = model.output_weights(layer)
    return W_O.flatten(0, 1) if head in (None, WHOLE_LAYER) else W_O[head]


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
    tokens, features = (
        [(start, min(start + size, n)) for start in range(0, n, size)]
        for n, size in zip((n_tokens, n_features), at_once, strict=True)
    )
    sums = torch.stack([W_U[:, start:stop].double().sum(dim=1) for start, stop in tokens])
    mean = (sums.sum(dim=0) / n_tokens).float()[:, None]
    so_far = [_Running(stop - start, n_kept) for start, stop in features]
    for first, last in tokens:
        tile = W_U[:, first:last] - mean
        for running, (start, stop) in zip(so_far, features, strict=True):
            u = written(start, stop).to(W_U.device)
            running.write_norm = u.double().norm(dim=1).cpu().numpy()
            running.add((u - u.mean(dim=1, keepdim=True) if centred else u) @ tile, first)
    variance, fourth = np.concatenate([running.moments for running in so_far], axis=1) / n_tokens
    with np.errstate(invalid="ignore"):
        kurtosis = fourth / variance**2
    promoted, suppressed = (
        _together([running.ranked(side, start) for running, (start, _) in zip(so_far, features, strict=True)])
        for side in (0, 1)
    )
    return Effects(
        promoted,
        suppressed,
        write_norm=np.concatenate([running.write_norm for running in so_far]),
        deviation=np.sqrt(variance),
        kurtosis=kurtosis,
    )


class _Running:
    """What is kept of the effects of a tile of n features while tokens are gone through.

    Arguments:
        n_kept: tokens kept of each side.
    """

    def __init__(self, n_features: int, n_kept: int) -> None:
        self._n_kept = n_kept
        self._bars = np.full((2, n_features), -np.inf, np.float32)
        # Features, tokens and effects, of either side.
        types = (np.int64, np.int64, np.float32)
        self._kept: list[list[Floats]] = [[np.zeros(0, kind) for kind in types] for _ in range(2)]
        # Sums of second and fourth powers.
        self.moments = np.zeros((2, n_features))
        self.write_norm = np.zeros(n_features)

    def add(self, effects: Tensor, first_token: int) -> None:
        """Add the effects [n, t] on the tokens from `first_token` on."""
        import torch

        squares = effects.square()
        self.moments += torch.stack([_row_sums(squares), _row_sums(squares.square())]).cpu().numpy()
        for side, largest in enumerate((True, False)):
            bar = torch.as_tensor(self._bars[side], device=effects.device)
            if bool(bar.isinf().any()) and effects.shape[1] >= self._n_kept:
                last = effects.topk(self._n_kept, dim=1, largest=largest).values[:, -1]
                bar = bar.maximum(last if largest else -last)
            # Ties with the last one kept are among them: which of them stays is decided by their ids.
            rows, columns = _reaching(effects, bar, largest=largest)
            values = effects[rows, columns]
            found = rows, columns + first_token, values if largest else -values
            self._keep(side, [column.cpu().numpy() for column in found])

    def _keep(self, side: int, found: list[Floats]) -> None:
        rows, tokens, values = map(np.concatenate, zip(self._kept[side], found, strict=True))
        order = np.lexsort((tokens, -values, rows))
        order = order[_places(rows[order]) < self._n_kept]
        rows, tokens, values = rows[order], tokens[order], values[order]
        self._kept[side] = [rows, tokens, values]
        last = _places(rows) == self._n_kept - 1
        self._bars[side, rows[last]] = values[last]

    def ranked(self, side: int, first_feature: int) -> Ranked:
        """Return the tokens kept of one side: promoted ones of 0, suppressed ones of 1."""
        rows, tokens, values = self._kept[side]
        return Ranked(rows + first_feature, _places(rows) + 1, tokens, -values if side else values)


def _in_blocks(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows [n, t] in blocks, [n, t // _BLOCK, _BLOCK], and the columns that are left over."""
    n_blocks = values.shape[1] // _BLOCK
    whole = n_blocks * _BLOCK
    return values[:, :whole].reshape(len(values), n_blocks, _BLOCK), values[:, whole:]


def _row_sums(values: Tensor) -> Tensor:
    """Return the sums of rows in float64, of blocks in float32, which takes a third of the time."""
    import torch

    blocks, rest = _in_blocks(values)
    of_blocks = blocks.sum(dim=2).sum(dim=1, dtype=torch.float64)
    sums: Tensor = of_blocks + rest.sum(dim=1, dtype=torch.float64)
    return sums


def _reaching(effects: Tensor, bar: Tensor, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Return row and column of the effects [n, t] above 0 that reach the bar [n] of their row.

    Of blocks the largest is looked at first: to compare all with the bar took a third of the time of all.
    Not `largest`: the effects below 0, their signs turned.
    """
    import torch

    blocks, rest = _in_blocks(effects)
    of_blocks = blocks.amax(dim=2) if largest else -blocks.amin(dim=2)
    rows, places = _at_bar(of_blocks, bar)
    inside = blocks[rows, places]
    entries, columns = _at_bar(inside if largest else -inside, bar[rows])
    rest_rows, rest_columns = _at_bar(rest if largest else -rest, bar)
    return (
        torch.cat([rows[entries], rest_rows]),
        torch.cat([places[entries] * _BLOCK + columns, rest_columns + effects.shape[1] - rest.shape[1]]),
    )


def _at_bar(values: Tensor, bar: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = ((values > 0) & (values >= bar[:, None])).nonzero(as_tuple=True)
    return rows, columns


def _places(rows: Ints) -> Ints:
    """Return, from 0, the place of each entry among those of its row; rows are in order."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)


def _together(parts: list[Ranked]) -> Ranked:
    names = ("feature", "rank", "token", "effect")
    return Ranked(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
