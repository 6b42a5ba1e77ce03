"""What was reached, measured on held-out text and written to `figures.json`."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.demo_model.autoencoders import at_site, capture, load_bridge
from benchmarks.demo_model.files import n_stored, read_timings, rounded
from benchmarks.demo_model.language_model import next_token_loss
from benchmarks.demo_model.ngrams import NgramModel
from benchmarks.demo_model.recipe import EVAL_ROWS, MODEL_NAME, LMRecipe, Recipe, input_sites, output_sites
from benchmarks.demo_model.text import cut_rows, encode_documents, random_rows, token_stream

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
# Of the training documents, every so manyth row is measured.
_TRAIN_ROWS_STRIDE = 10


def mean_loss(bridge: Any, rows: Tensor, hooks: Sequence[tuple[str, Callable[..., Any]]]) -> float:
    """Mean next-token loss (nats a token) over rows [n_rows, row_len], with hooks in place."""
    import torch

    total = 0.0
    with torch.no_grad():
        for batch in torch.split(rows, EVAL_ROWS):
            logits = bridge.run_with_hooks(batch, return_type="logits", fwd_hooks=list(hooks))
            total += next_token_loss(logits, batch).item() * len(batch)
    return total / len(rows)


def ablate_head(head: int) -> Callable[..., Any]:
    """A hook on `hook_z` [batch, pos, head, d_head] that sets one head's output to zero."""

    def hook(z: Tensor, **_: Any) -> Tensor:
        z = z.clone()
        z[:, :, head] = 0
        return z

    return hook


def splice(sae: Any, head: int | None) -> Callable[..., Any]:
    """A hook that puts the SAE's reconstruction in place of what it read, but for BOS."""

    def hook(activation: Tensor, **_: Any) -> Tensor:
        activation = activation.clone()
        place = activation[:, 1:] if head is None else activation[:, 1:, head]
        place.copy_(sae(place))
        return activation

    return hook


def reconstruction(sae: Any, activations: Tensor) -> dict[str, float]:
    """L0 and explained variance of an SAE on activations [n_tokens, d_in]."""
    import torch

    with torch.no_grad():
        features = sae.encode(activations)
        error = (activations - sae.decode(features)).pow(2).sum()
    variance = (activations - activations.mean(0)).pow(2).sum()
    return {
        "l0": (features > 0).sum(-1).float().mean().item(),
        "explained_variance": 1 - (error / variance).item(),
    }


def firing_rates(sae: Any, activations: Tensor) -> Tensor:
    """Share of the activations [n_tokens, d_in] on which each feature [d_sae] is active."""
    import torch

    with torch.no_grad():
        fired = sum((sae.encode(part) > 0).sum(0) for part in torch.split(activations, 8192))
    return torch.as_tensor(fired) / len(activations)


def lm_figures(bridge: Any, recipe: LMRecipe, short_row: int) -> dict[str, Any]:
    """Held-out losses of the model, of the n-gram baselines and without each head."""
    tokenizer = bridge.tokenizer
    bos = tokenizer.bos_token_id
    train, held_out = (encode_documents(tokenizer, held_out=part) for part in (False, True))
    losses: dict[str, dict[str, float]] = {}
    for row_len in (short_row, recipe.n_ctx):
        rows = cut_rows(held_out, row_len, bos)
        losses[f"rows_of_{row_len}"] = {
            "tokens": rows[:, 1:].numel(),
            "model": mean_loss(bridge, rows, []),
            "model_on_training_documents": mean_loss(
                bridge, cut_rows(train, row_len, bos)[::_TRAIN_ROWS_STRIDE], []
            ),
            **{
                name: NgramModel(train, order, recipe.vocab_size).loss(rows.tolist())
                for order, name in enumerate(["unigram", "bigram", "trigram"], start=1)
            },
        }
    rows = cut_rows(held_out, short_row, bos)
    base = mean_loss(bridge, rows, [])
    rises = {
        f"L{layer}H{head}": mean_loss(bridge, rows, [(f"blocks.{layer}.attn.hook_z", ablate_head(head))])
        - base
        for layer in range(recipe.n_layer)
        for head in range(recipe.n_head)
    }
    return {
        "train_tokens": sum(map(len, train)),
        "held_out_tokens": sum(map(len, held_out)),
        "held_out_loss": losses,
        f"loss_rise_without_head_rows_of_{short_row}": rises,
    }


def sae_figures(bridge: Any, out: Path, recipe: Recipe) -> dict[str, dict[str, float]]:
    """Reconstruction on held-out rows, spliced loss, and dead features, by folder of the SAE."""
    import torch
    from sae_lens import SAE

    bos = bridge.tokenizer.bos_token_id
    held_out = cut_rows(encode_documents(bridge.tokenizer, held_out=True), recipe.row_len, bos)
    stream = token_stream(encode_documents(bridge.tokenizer, held_out=False), bos)
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    n_rows = recipe.eval_tokens // (recipe.row_len - 1)
    train = random_rows(stream, bos, n_rows, recipe.row_len, generator)
    base = mean_loss(bridge, held_out, [])
    figures: dict[str, dict[str, float]] = {}
    for site in [*input_sites(recipe.lm), *output_sites(recipe.lm)]:
        sae = SAE.load_from_disk(str(out / site.folder)).eval()
        rates = firing_rates(sae, at_site(capture(bridge, train, [site.hook_name], bos), site))
        seen = at_site(capture(bridge, held_out, [site.hook_name], bos), site)
        spliced = mean_loss(bridge, held_out, [(site.hook_name, splice(sae, site.head))])
        figures[site.folder] = {
            **reconstruction(sae, seen),
            "dead_share": (rates == 0).float().mean().item(),
            "share_on_over_half_of_tokens": (rates > 0.5).float().mean().item(),
            "loss_rise_when_spliced_in": spliced - base,
        }
        logger.info("%s: %s", site.folder, figures[site.folder])
    return figures


def write_figures(out: Path, recipe: Recipe) -> None:
    """Measure everything that is shipped and write it to `figures.json`."""
    bridge = load_bridge(out / MODEL_NAME)
    libraries = ("torch", "transformers", "transformer_lens", "sae-lens")
    sizes = {
        path.relative_to(out).as_posix(): path.stat().st_size for path in sorted(out.rglob("*.safetensors"))
    }
    figures = {
        "environment": {
            "cpython": platform.python_version(),
            **{name: version(name) for name in libraries},
        },
        "recipe": asdict(recipe),
        "cpu_minutes": read_timings(out),
        "language_model": {
            # Counted in the file: the processed model unties the embeddings and splits Q, K and V.
            "parameters": n_stored(out / MODEL_NAME / "model.safetensors"),
            **lm_figures(bridge, recipe.lm, recipe.row_len),
        },
        "saes": sae_figures(bridge, out, recipe),
        "bytes": sizes,
    }
    text = json.dumps(rounded(figures), indent=2)
    (out / "figures.json").write_text(text + "\n")
