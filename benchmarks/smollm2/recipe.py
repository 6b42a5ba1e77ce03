"""What the SAEs for SmolLM2-135M-Instruct are: sites, sizes, schedules and seeds."""

from __future__ import annotations

from dataclasses import dataclass

MODEL_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Those of the heads that repeated random tokens show to copy, to match and to look back.
LAYERS = (1, 2, 17, 18)
N_HEADS, D_HEAD, D_MODEL = 9, 64, 576


@dataclass(frozen=True)
class Site:
    """What is captured at one hook.

    Args:
        layer: the layer. is_output: its heads' outputs, or the residual stream that enters it.
    """

    layer: int
    is_output: bool

    @property
    def hook_name(self) -> str:
        """TransformerLens's name of the hook."""
        return f"blocks.{self.layer}." + ("attn.hook_z" if self.is_output else "hook_resid_pre")

    def folder(self, head: int | None) -> str:
        """Folder of an SAE, relative to the weights."""
        return f"input_saes/{self.hook_name}" if head is None else f"output_saes/{self.hook_name}.head_{head}"

    @property
    def heads(self) -> list[int | None]:
        """The head of each of its SAEs, None for the residual stream."""
        return list(range(N_HEADS)) if self.is_output else [None]


SITES = tuple(Site(layer, is_output) for layer in LAYERS for is_output in (False, True))


@dataclass(frozen=True)
class SAERecipe:
    """One family of SAEs and its training.

    Args:
        d_sae: number of features.
        k: active features a token, on average.
        steps: optimiser steps, each on `batch` tokens. lr: their learning rate.
        warmup: steps over which the learning rate rises.
        aux_k: dead features that together rebuild what the others miss.
        dead_after: tokens without firing after which a feature counts as dead.
    """

    d_sae: int
    k: int
    steps: int
    lr: float
    batch: int
    warmup: int = 50
    aux_k: int = 256
    aux_coefficient: float = 1 / 16
    dead_after: int = 200_000
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """The whole recipe.

    Args:
        row_len: tokens per row that the SAEs are trained and measured on, BOS included.
        rows: rows whose activations are captured; training goes over them repeatedly.
        eval_rows: held-out rows on which reconstructions are measured, and the model's loss.
        seed: of the choice of rows.
    """

    inputs: SAERecipe = SAERecipe(d_sae=2048, k=32, steps=2500, lr=1.5e-3, batch=1024)
    outputs: SAERecipe = SAERecipe(d_sae=512, k=8, steps=1500, lr=3e-3, batch=2048, aux_k=64)
    row_len: int = 128
    rows: int = 4000
    eval_rows: int = 24
    seed: int = 0

    def of(self, site: Site) -> SAERecipe:
        """Return the recipe of a site's SAEs."""
        return self.outputs if site.is_output else self.inputs
