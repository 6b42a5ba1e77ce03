"""What the demo model is made of: sizes, schedules and seeds of everything that is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

BOS = "<|endoftext|>"
MODEL_NAME = "attnrules-demo"
# Rows that go through the model together.
EVAL_ROWS = 128


@dataclass(frozen=True)
class LMRecipe:
    """The language model and its training.

    Args:
        steps: optimiser steps, each on `tokens_per_step` tokens.
        short_row: row length of every second batch, the length that ingest cuts; the other
            batches hold rows of `n_ctx` tokens.
        muon_lr: peak learning rate of the matrices inside the blocks (Muon).
        adam_lr: peak learning rate of everything else (AdamW).
        lr_floor: where the cosine ends, as a share of the peak.
    """

    vocab_size: int = 8192
    n_layer: int = 2
    n_head: int = 4
    n_embd: int = 128
    n_ctx: int = 256
    steps: int = 5000
    tokens_per_step: int = 2048
    short_row: int = 64
    muon_lr: float = 8e-3
    adam_lr: float = 6e-3
    lr_floor: float = 0.03
    warmup: int = 150
    dropout: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class SAERecipe:
    """One family of SAEs and its training.

    Args:
        d_sae: number of features.
        k: active features per token, on average.
        tokens: activations seen in training; the BOS position is left out.
        dead_window: steps without firing after which the auxiliary loss revives a feature.
    """

    d_sae: int
    k: int
    tokens: int
    lr: float = 3e-3
    batch: int = 1024
    dead_window: int = 30
    aux_coefficient: float = 1.0
    decoder_init_norm: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """The whole recipe.

    Args:
        row_len: tokens per row that the SAEs are trained and measured on, BOS included.
        distinct_tokens: activations captured for each hook; training goes over them repeatedly.
        eval_tokens: training activations over which a feature that never fires counts as dead.
    """

    lm: LMRecipe = field(default_factory=LMRecipe)
    input_sae: SAERecipe = field(default_factory=lambda: SAERecipe(d_sae=2048, k=16, tokens=2_000_000))
    output_sae: SAERecipe = field(default_factory=lambda: SAERecipe(d_sae=256, k=8, tokens=4_000_000))
    row_len: int = 64
    distinct_tokens: int = 1_500_000
    eval_tokens: int = 500_000
    seed: int = 1


@dataclass(frozen=True)
class Site:
    """Where an SAE sits: a hook, and a head of it or None for the whole residual stream."""

    hook_name: str
    head: int | None = None

    @property
    def folder(self) -> str:
        """Folder of the SAE, relative to the weights."""
        if self.head is None:
            return f"input_saes/{self.hook_name}"
        return f"output_saes/{self.hook_name}.head_{self.head}"


def input_sites(recipe: LMRecipe) -> list[Site]:
    """The sites of the input SAEs, one a layer."""
    return [Site(f"blocks.{layer}.hook_resid_pre") for layer in range(recipe.n_layer)]


def output_sites(recipe: LMRecipe) -> list[Site]:
    """The sites of the output SAEs, one a head."""
    return [
        Site(f"blocks.{layer}.attn.hook_z", head)
        for layer in range(recipe.n_layer)
        for head in range(recipe.n_head)
    ]
