"""SAEs of the residual stream and of each head, trained with SAELens on the processed model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.demo_model.files import edit_json
from benchmarks.demo_model.recipe import EVAL_ROWS, MODEL_NAME, Recipe, SAERecipe, Site
from benchmarks.demo_model.text import encode_documents, random_rows, token_stream

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


def load_bridge(folder: Path) -> Any:
    """Load a local model with the processing that ingest uses (layer norm folded, centred)."""
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu")
    bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge.eval()


def capture(bridge: Any, rows: Tensor, hook_names: Sequence[str], bos: int) -> dict[str, Tensor]:
    """Activations at each hook, [n_tokens, ...], of all positions that do not hold BOS."""
    import torch

    kept: dict[str, list[Tensor]] = {name: [] for name in hook_names}

    # A hook point knows itself by its newest alias, so the name asked for is bound here.
    def store(activation: Tensor, name: str, **_: Any) -> None:
        kept[name].append(activation[mask])

    hooks = [(name, partial(store, name=name)) for name in hook_names]
    with torch.no_grad():
        for batch in torch.split(rows, EVAL_ROWS):
            mask = batch != bos
            bridge.run_with_hooks(batch, return_type=None, fwd_hooks=hooks)
    return {name: torch.cat(parts) for name, parts in kept.items()}


def at_site(activations: dict[str, Tensor], site: Site) -> Tensor:
    """Return what an SAE of `site` reads, [n_tokens, d_in], of activations by hook."""
    activation = activations[site.hook_name]
    return activation if site.head is None else activation[:, site.head].contiguous()


def _batches(activations: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches [size, d_in] in an order shuffled anew each time round."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(activations), generator=generator)
        for batch in torch.split(order, size)[:-1]:
            yield activations[batch]


def train_sae(activations: Tensor, site: Site, recipe: SAERecipe, row_len: int) -> Any:
    """Train one TopK SAE on activations [n_tokens, d_in] with SAELens's own trainer."""
    import torch
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(recipe.seed)
    metadata = SAEMetadata(
        model_name=MODEL_NAME,
        model_class_name="TransformerBridge",
        hook_name=site.hook_name,
        hook_head_index=site.head,
        context_size=row_len,
        prepend_bos=True,
        exclude_special_tokens=True,
    )
    config = TopKTrainingSAEConfig(
        d_in=activations.shape[-1],
        d_sae=recipe.d_sae,
        k=recipe.k,
        aux_loss_coefficient=recipe.aux_coefficient,
        decoder_init_norm=recipe.decoder_init_norm,
        normalize_activations="expected_average_only_in",
        metadata=metadata,
    )
    n_steps = recipe.tokens // recipe.batch
    sae = TopKTrainingSAE(config)
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=n_steps * recipe.batch,
            train_batch_size_samples=recipe.batch,
            lr=recipe.lr,
            lr_end=recipe.lr / 10,
            lr_warm_up_steps=n_steps // 20,
            lr_decay_steps=n_steps // 3,
            dead_feature_window=recipe.dead_window,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae=sae,
        data_provider=_batches(activations, recipe.batch, recipe.seed),
    )
    # Measured here rather than estimated by the trainer, so that the decoder bias can start at the
    # mean: from zero, the features that point away from it never fire and stay dead.
    scale = config.d_in**0.5 / activations.norm(dim=-1).mean().item()
    trainer.activation_scaler.scaling_factor = scale
    sae.b_dec.data = activations.mean(0) * scale
    return trainer.fit()


def save_sae(sae: Any, folder: Path) -> None:
    """Save in SAELens's inference format, without what names machine or data set."""
    sae.save_inference_model(str(folder))
    edit_json(folder / "cfg.json")


def train_saes(out: Path, sites: Sequence[Site], recipe: SAERecipe, whole: Recipe) -> None:
    """Train and save the SAEs of `sites` that are not there yet; all share one capture."""
    import torch

    missing = [site for site in sites if not (out / site.folder / "cfg.json").exists()]
    if not missing:
        return
    bridge = load_bridge(out / MODEL_NAME)
    bos = bridge.tokenizer.bos_token_id
    stream = token_stream(encode_documents(bridge.tokenizer, held_out=False), bos)
    generator = torch.Generator().manual_seed(whole.seed)
    n_rows = whole.distinct_tokens // (whole.row_len - 1)
    rows = random_rows(stream, bos, n_rows, whole.row_len, generator)
    hook_names = list(dict.fromkeys(site.hook_name for site in missing))
    activations = capture(bridge, rows, hook_names, bos)
    for site in missing:
        logger.info("training %s", site.folder)
        save_sae(train_sae(at_site(activations, site), site, recipe, whole.row_len), out / site.folder)
