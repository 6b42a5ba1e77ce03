"""SAEs that yield their active features: no dense matrix is kept, moved or decoded.

Encoding goes in blocks, so that memory is bounded whatever the width of the SAE; what leaves the device
are the active features only, copied while the device goes on computing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from attnrules.ingest.sources.saes import Sae

if TYPE_CHECKING:
    from torch import Tensor

Columns = dict[str, npt.NDArray[Any]]

# Largest dense block of activations held at once, in floats. On a CPU small enough to stay in its caches
# (32 MB), and to stop soon; elsewhere large enough to keep the device busy (256 MB).
_BLOCK_FLOATS = {"cpu": 1 << 23}
_BLOCK_FLOATS_ELSEWHERE = 1 << 26
# What contributions of heads are counted in; see the column total_contribution of feature_heads.
CONTRIBUTION_UNIT = 2.0**-24


@dataclass(frozen=True)
class Active:
    """The active features of a block of inputs, on the device.

    Arguments:
        start: first input of the block.
        rows: [n] input within all inputs, features: [n], values: [n] float32, above 0; in order of
            (row, feature).
        rebuilt: [block, d_in] reconstruction of the block's inputs, empty when not asked for.
    """

    start: int
    rows: Tensor
    features: Tensor
    values: Tensor
    rebuilt: Tensor


class SparseSae:
    """An SAE on a device, encoded block by block."""

    def __init__(self, sae: Sae) -> None:
        self._sae = sae
        self.d_sae = sae.d_sae
        device = next(iter(sae.module.parameters())).device
        self._block = max(1, _BLOCK_FLOATS.get(device.type, _BLOCK_FLOATS_ELSEWHERE) // sae.d_sae)
        # The output's decoder is never used; that of the input is 15 times faster than SAELens's own.
        self._decoder = sae.weights.decoder.to(device) if sae.role == "input" else None
        self._offset = sae.weights.decoder_bias.to(device)
        # [d_sae, n_heads * d_head]: rows are gathered, so that they lie together.
        self._encoder = sae.encoder_of_x().T.contiguous().to(device) if sae.location.is_whole_layer else None

    def active(self, x: Tensor, *, decode: bool, check: Callable[[], None]) -> Iterator[Active]:
        """Yield the active features of x [n, d_in], float32; `check` is called before each block."""
        for start in range(0, len(x), self._block):
            check()
            dense = self._sae.encode(x[start : start + self._block])
            flat = dense.reshape(-1)
            at = flat.nonzero().squeeze(1)
            values = flat[at].float()
            rows = at // self.d_sae
            features = at - rows * self.d_sae
            rebuilt = self._decode(len(dense), rows, features, values) if decode else dense[:0]
            yield Active(start, rows + start, features, values, rebuilt)

    def contributions(self, active: Active, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each head brings to features of an SAE over a whole layer, summed over inputs.

        `z` [n, n_heads, d_head], float32, is what `active` was encoded from. Returns the features [n], int32,
        ascending, and their sums of z^h . w_f^h [n, n_heads] in whole multiples of `CONTRIBUTION_UNIT`,
        int64: they have the same bits in whatever order they are added.
        """
        import torch

        if self._encoder is None:
            raise ValueError("only an SAE over a whole layer reads several heads")
        features, place = torch.unique(active.features, return_inverse=True)
        units = torch.zeros(len(features), z.shape[1], dtype=torch.int64, device=z.device)
        step = max(1, self._block * self.d_sae // self._encoder.shape[1])
        for start in range(0, len(place), step):
            at = slice(start, start + step)
            read_off = self._encoder[active.features[at]].reshape(-1, *z.shape[1:])
            brought = (z[active.rows[at]] * read_off).sum(-1).double() / CONTRIBUTION_UNIT
            units.index_add_(0, place[at], brought.round().to(torch.int64))
        return features.to(torch.int32), units

    def _decode(self, n_rows: int, rows: Tensor, features: Tensor, values: Tensor) -> Tensor:
        if self._decoder is None:
            raise ValueError("only input SAEs rebuild what they read")
        return _bags(n_rows, rows, features, values, self._decoder, self._offset)


def _bags(
    n_rows: int, rows: Tensor, features: Tensor, values: Tensor, weights: Tensor, offset: Tensor
) -> Tensor:
    import torch

    starts = torch.searchsorted(rows, torch.arange(n_rows, device=rows.device))
    summed = torch.nn.functional.embedding_bag(
        features, weights, starts, mode="sum", per_sample_weights=values
    )
    return summed + offset


class ToHost:
    """Copies tensors to the host while the device computes on; one for each device and thread."""

    def __init__(self, device: Any) -> None:
        import torch

        stream: Any = torch.cuda.Stream
        self._stream = stream(device) if device.type == "cuda" else None

    def copy(self, tensors: dict[str, Tensor]) -> Copied:
        """Begin to copy; the result knows when it is complete."""
        import torch

        if self._stream is None:
            return Copied({name: tensor.cpu() for name, tensor in tensors.items()}, None)
        copies = {}
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            for name, tensor in tensors.items():
                # Pinned, or the copy would wait for the device.
                copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                copies[name].copy_(tensor, non_blocking=True)
                tensor.record_stream(self._stream)
            complete = self._stream.record_event()
        return Copied(copies, complete)


class Copied:
    """Tensors on the host, or on their way there."""

    def __init__(self, tensors: dict[str, Tensor], complete: Any) -> None:
        self._tensors = tensors
        self._complete = complete

    def arrays(self) -> Columns:
        """Wait until all is there and return it."""
        if self._complete is not None:
            self._complete.synchronize()
        return {name: tensor.numpy() for name, tensor in self._tensors.items()}
