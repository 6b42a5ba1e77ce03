"""Activations of SmolLM2 at the hooks of the SAEs: one pass over the text, kept on disk as float16.

The model's norms do not centre and it has no biases, so that these are what the processed weights hold at
the same hooks, which is what `attnrules ingest` reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.ingest.sources.gguf_files import is_gguf, restore
from benchmarks.smollm2.recipe import D_HEAD, D_MODEL, N_HEADS, Site

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
_ROWS = 16


def load(model: Path) -> tuple[Any, Any]:
    """Return the transformers model, float32, and its tokenizer, from a GGUF file or a folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if is_gguf(model):
        loaded, tokenizer = restore(model)
    else:
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(model)
    return loaded.eval(), tokenizer


@contextmanager
def hooked(model: Any, hooks: Mapping[Site, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """Let each hook see, and replace where it returns one, the activation [batch, pos, width] at its site."""

    def before(function: Callable[[Tensor], Tensor | None]) -> Callable[..., Any]:
        def hook(_: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            replaced = function(arguments[0])
            return None if replaced is None else (replaced, *arguments[1:])

        return hook

    handles = []
    for site, function in hooks.items():
        layer = model.model.layers[site.layer]
        module = layer.self_attn.o_proj if site.is_output else layer
        handles.append(module.register_forward_pre_hook(before(function)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def path_of(folder: Path, site: Site) -> Path:
    """Return the file of a site's activations."""
    return folder / f"{site.hook_name}.f16"


def width_of(site: Site) -> int:
    """Return the number of values at a site: those of all heads side by side, or of the residual stream."""
    return N_HEADS * D_HEAD if site.is_output else D_MODEL


def capture(model: Any, rows: Tensor, folder: Path, sites: Sequence[Site]) -> None:
    """Write the activations [n_tokens, width] at the sites, BOS included.

    Matrices are multiplied in bfloat16, which some processors do far faster: the rounding is small beside
    what an SAE leaves out.
    """
    import torch

    files = {site: path_of(folder, site).open("wb") for site in sites}

    def store(site: Site) -> Callable[[Tensor], None]:
        def write(x: Tensor) -> None:
            files[site].write(_halved(x).tobytes())

        return write

    layers = model.model.layers
    model.model.layers = layers[: max(site.layer for site in sites) + 1]
    try:
        with (
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16),
            hooked(model, {site: store(site) for site in sites}),
        ):
            for n, batch in enumerate(torch.split(rows, _ROWS)):
                model.model(batch, use_cache=False)
                if n % 20 == 0:
                    logger.info("captured %d of %d rows", n * _ROWS, len(rows))
    finally:
        model.model.layers = layers
        for file in files.values():
            file.close()


def _halved(x: Tensor) -> Any:
    """Return activations [batch, pos, width] as float16 [batch * pos, width]; raises where too large."""
    import torch

    halved = x.reshape(-1, x.shape[-1]).half()
    if not bool(torch.isfinite(halved).all()):
        raise OverflowError("an activation does not fit into float16")
    return halved.numpy()
