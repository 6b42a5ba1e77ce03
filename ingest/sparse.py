"""SAEs that yield their active features: no dense matrix is kept, moved or decoded.

Encoding goes in blocks, so that memory is bounded whatever the width of the SAE; what leaves the device
are the active features only, copied while the device goes on computing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from attnrules.ingest.saes import Sae

if TYPE_CHECKING:
    from torch import Tensor

Columns = dict[str, npt.NDArray[Any]]

# Largest dense block of activations held at once, in floats. On a CPU small enough to stay in its caches
# (32 MB), and to stop soon; elsewhere large enough to keep the device busy (256 MB).
_BLOCK_FLOATS = {"cpu": 1 << 23}
_BLOCK_FLOATS_ELSEWHERE = 1 << 26
# Normalisations whose decoding depends on the input that was encoded last.
_STATEFUL = {"constant_norm_rescale", "layer_norm"}


@dataclass(frozen=True)
class Active:
    """The active features of a block of inputs, on the device.

    Arguments:
        start: first input of the block.
        rows: [n] input within all inputs, features: [n], values: [n] float32, not 0 (negative for some
            architectures: decoded, but not active); in order of (row, feature).
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
        import torch

        self.module = sae.module
        self.d_sae = sae.d_sae
        self._device = next(iter(sae.module.parameters())).device
        self._block = max(1, _BLOCK_FLOATS.get(self._device.type, _BLOCK_FLOATS_ELSEWHERE) // sae.d_sae)
        with torch.no_grad():
            self._decoder = self._linear_decoder()

    def active(self, x: Tensor, *, decode: bool, check: Callable[[], None]) -> Iterator[Active]:
        """Yield the active features of x [n, d_in], float32; `check` is called before each block."""
        for start in range(0, len(x), self._block):
            check()
            dense = self.module.encode(x[start : start + self._block])
            flat = dense.reshape(-1)
            at = flat.nonzero().squeeze(1)
            values = flat[at].float()
            rows = at // self.d_sae
            features = at - rows * self.d_sae
            rebuilt = self._decode(dense, rows, features, values) if decode else dense[:0]
            yield Active(start, rows + start, features, values, rebuilt)

    def _decode(self, dense: Tensor, rows: Tensor, features: Tensor, values: Tensor) -> Tensor:
        if self._decoder is None:
            return self.module.decode(dense).float()  # type: ignore[no-any-return]
        return _bags(len(dense), rows, features, values, *self._decoder)

    def _linear_decoder(self) -> tuple[Tensor, Tensor] | None:
        """Return (rows [d_sae, d_in], offset [d_in]) where decoding is linear; it is then 15 times faster.

        None where it is not: then the module decodes. Tried on a few activations, since architectures
        differ in what they add and scale.
        """
        import torch

        config = self.module.cfg
        if getattr(config, "normalize_activations", "none") in _STATEFUL:
            return None
        weights = self.module.W_dec.detach().float()
        if getattr(config, "rescale_acts_by_decoder_norm", False):
            weights = weights / weights.norm(dim=-1, keepdim=True)
        offset = self.module.decode(torch.zeros(1, self.d_sae, device=self._device))[0].float()
        probe = torch.zeros(4, self.d_sae, device=self._device)
        probe[:, :: max(1, self.d_sae // 16)] = 1.0
        probe *= torch.arange(4, device=self._device)[:, None]
        rows, features = probe.nonzero(as_tuple=True)
        found = _bags(4, rows, features, probe[rows, features], weights, offset)
        expected = self.module.decode(probe).float()
        if not torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max() + 1e-6)):
            return None
        return weights.contiguous(), offset


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
