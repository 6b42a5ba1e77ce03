"""What the SAEs leave unexplained, measured on held-out text with the weights as they are shipped."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.demo_model.files import rounded
from benchmarks.demo_model.language_model import next_token_loss
from benchmarks.smollm2.autoencoders import Activations, Sae, ordinary
from benchmarks.smollm2.capture import hooked, load, path_of, width_of
from benchmarks.smollm2.recipe import N_HEADS, Recipe, Site
from benchmarks.smollm2.text import cut_rows, read_documents

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
_ROWS = 8
# Of the captured training tokens: a feature that fires on none of so many counts as dead.
_TRAINING_TOKENS = 80_000
Hooks = Mapping[Site, Callable[["Tensor"], "Tensor | None"]]


def read_sae(folder: Path) -> Sae:
    """Return a shipped SAE."""
    from safetensors.torch import load_file

    held = {name: tensor.float() for name, tensor in load_file(folder / "sae_weights.safetensors").items()}
    return Sae(held["W_enc"], held["b_enc"], held["W_dec"], held["b_dec"], held["threshold"])


def unexplained(x: Tensor, rebuilt: Tensor) -> float:
    """Return the share of the variance of x [n, d_in] that its reconstruction misses."""
    return ((x - rebuilt).square().sum() / (x - x.mean(0)).square().sum()).item()


def mean_loss(model: Any, rows: Tensor, hooks: Hooks) -> float:
    """Mean next-token loss (nats a token) over rows [n_rows, row_len], with hooks in place."""
    import torch

    total = 0.0
    with torch.no_grad(), hooked(model, hooks):
        for batch in torch.split(rows, _ROWS):
            total += next_token_loss(model(batch, use_cache=False).logits, batch).item() * len(batch)
    return total / len(rows)


def spliced(saes: Sequence[Sae]) -> Callable[[Tensor], Tensor]:
    """Return a hook that puts reconstructions in the place of all that its SAEs read, BOS included."""
    import torch

    def hook(x: Tensor) -> Tensor:
        parts = torch.chunk(x, len(saes), dim=-1)
        rebuilt = [sae.decode(sae.encode(part)) for sae, part in zip(saes, parts, strict=True)]
        return torch.cat(rebuilt, dim=-1)

    return hook


def head_of(site: Site, head: int | None) -> slice:
    """Return the columns of a site that an SAE reads."""
    width = width_of(site) // N_HEADS
    return slice(None) if head is None else slice(head * width, (head + 1) * width)


def sae_figures(sae: Sae, x: Tensor, training: Activations) -> dict[str, float]:
    """Return what an SAE makes of held-out activations [n_tokens, d_in], and its dead features."""
    import torch

    features = sae.encode(x)
    fired = torch.zeros(features.shape[1], dtype=torch.bool)
    for start in range(0, min(_TRAINING_TOKENS, len(training)), 8192):
        fired |= (sae.encode(training.take(start, start + 8192)) > 0).any(0)
    return {
        "l0": (features > 0).sum(-1).float().mean().item(),
        "unexplained": unexplained(x, sae.decode(features)),
        "dead_features": int((~fired).sum()),
    }


def write_figures(model: Path, archives: Path, out: Path, sites: Sequence[Site], recipe: Recipe) -> None:
    """Measure all SAEs in `out` and write `figures.json`.

    BOS, and in the residual stream the few first words on which the model parks attention, are in the losses
    alone: their variance is hundreds of times that of all other tokens.
    """
    import torch

    loaded, tokenizer = load(model)
    documents = [document for document in read_documents(archives) if document.held_out]
    rows = cut_rows(documents, tokenizer, recipe.row_len)
    rows = rows[:: len(rows) // recipe.eval_rows][: recipe.eval_rows]
    seen: dict[Site, list[Tensor]] = {site: [] for site in sites}
    clean = mean_loss(loaded, rows, {site: seen[site].append for site in sites})
    figures: dict[str, Any] = {}
    losses: dict[str, Any] = {}
    for site in sites:
        saes = [read_sae(out / site.folder(head)) for head in site.heads]
        x = torch.cat(seen[site])[:, 1:].flatten(0, 1)
        x = x if site.is_output else ordinary(x)
        path, width = path_of(out / "activations", site), width_of(site)
        for head, sae in zip(site.heads, saes, strict=True):
            columns = head_of(site, head)
            figures[site.folder(head)] = sae_figures(sae, x[:, columns], Activations(path, width, columns))
        losses[site.hook_name] = {
            "reconstructed": mean_loss(loaded, rows, {site: spliced(saes)}) - clean,
            "zero": mean_loss(loaded, rows, {site: torch.zeros_like}) - clean,
        }
        logger.info("%s: %s", site.hook_name, losses[site.hook_name])
    libraries = ("torch", "transformers", "sae-lens")
    content = {
        "environment": {"cpython": platform.python_version(), **{name: version(name) for name in libraries}},
        "recipe": asdict(recipe),
        "held_out_tokens": rows[:, 1:].numel(),
        "loss": clean,
        "loss_rise_when_replaced": losses,
        "saes": figures,
        "training": json.loads((out / "training.json").read_text()),
    }
    (out / "figures.json").write_text(json.dumps(rounded(content), indent=2) + "\n")
