"""The recipe of the embedded demo model: `python -m attnrules.ingest.demo_training OUT_DIR`.

What lives here: every step from the demo corpus to the shipped weights (tokenizer, language
model, input SAEs, output SAEs, figures), each skipped where its output exists already. What must
not: anything a user needs at run time; `attnrules` only loads what this recipe left behind.

Needs torch 2.9 or later, for its Muon optimiser.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.demo.corpus import iter_documents

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)

BOS = "<|endoftext|>"
MODEL_NAME = "attnrules-demo"
_EVAL_ROWS = 128
_TRAIN_ROWS_STRIDE = 10


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

    vocab_size: int = 2048
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
    input_sae: SAERecipe = field(default_factory=lambda: SAERecipe(d_sae=1024, k=16, tokens=2_000_000))
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


# --- the corpus as token ids ---------------------------------------------------------------------


def encode_documents(tokenizer: Any, held_out: bool) -> list[list[int]]:
    """Token ids of the documents of one part of the corpus, without BOS."""
    return [
        tokenizer.encode(document.text, add_special_tokens=False, verbose=False)
        for document in iter_documents()
        if document.held_out == held_out
    ]


def cut_rows(documents: Sequence[list[int]], row_len: int, bos: int) -> Tensor:
    """Rows [n_rows, row_len]: BOS, then consecutive tokens of one document; the rest is dropped."""
    import torch

    body = row_len - 1
    return torch.tensor(
        [
            [bos, *ids[start : start + body]]
            for ids in documents
            for start in range(0, len(ids) - body + 1, body)
        ]
    )


def token_stream(documents: Sequence[list[int]], bos: int) -> Tensor:
    """All documents one after the other [n_tokens], each closed by the BOS/EOS token."""
    import torch

    return torch.tensor([token for ids in documents for token in [*ids, bos]])


def random_rows(stream: Tensor, bos: int, n_rows: int, row_len: int, generator: torch.Generator) -> Tensor:
    """Rows [n_rows, row_len] that start with BOS and go on from random places of the stream."""
    import torch

    starts = torch.randint(len(stream) - row_len, (n_rows, 1), generator=generator)
    body = stream[starts + torch.arange(row_len - 1)]
    return torch.cat([torch.full((n_rows, 1), bos), body], dim=1)


# --- baselines -----------------------------------------------------------------------------------


class NgramModel:
    """Interpolated Kneser-Ney with one absolute discount; order 1 is the unigram model.

    Args:
        documents: token ids of the training documents.
        order: 1 for unigram, 2 for bigram, 3 for trigram.
        vocab_size: size of the uniform distribution that ends the interpolation.
    """

    def __init__(
        self, documents: Sequence[list[int]], order: int, vocab_size: int, discount: float = 0.75
    ) -> None:
        self.order, self.vocab_size, self.discount = order, vocab_size, discount
        self._counts: dict[int, Counter[tuple[int, ...]]] = {}
        self._totals: dict[int, Counter[tuple[int, ...]]] = {}
        self._types: dict[int, Counter[tuple[int, ...]]] = {}
        counts = Counter(
            tuple(ids[start : start + order]) for ids in documents for start in range(len(ids) - order + 1)
        )
        for n in range(order, 0, -1):
            self._counts[n] = counts
            self._totals[n], self._types[n] = Counter(), Counter()
            for gram, count in counts.items():
                self._totals[n][gram[:-1]] += count
                self._types[n][gram[:-1]] += 1
            # Lower orders count the distinct left neighbours of a gram, not its occurrences.
            counts = Counter(gram[1:] for gram in counts)

    def probability(self, context: tuple[int, ...], token: int) -> float:
        """P(token | context), for a context of at most order - 1 tokens."""
        result = 1 / self.vocab_size
        for n in range(1, len(context) + 2):
            suffix = context[len(context) - n + 1 :]
            total = self._totals[n][suffix]
            if not total:
                break
            kept = max(self._counts[n][(*suffix, token)] - self.discount, 0)
            result = (kept + self.discount * self._types[n][suffix] * result) / total
        return result

    def loss(self, rows: Sequence[list[int]]) -> float:
        """Mean negative log-likelihood (nats a token) of rows of token ids; BOS is no context."""
        bodies = [row[1:] for row in rows]
        terms = [
            -math.log(self.probability(tuple(body[max(0, i - self.order + 1) : i]), body[i]))
            for body in bodies
            for i in range(len(body))
        ]
        return sum(terms) / len(terms)


# --- stage 1: tokenizer --------------------------------------------------------------------------


def train_tokenizer(folder: Path, recipe: LMRecipe) -> None:
    """Train a byte-level BPE on the training documents; save a Hugging Face tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (document.text for document in iter_documents() if not document.held_out)
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=BOS,
        unk_token=BOS,
        model_max_length=recipe.n_ctx,
    ).save_pretrained(folder)
    # The name that both transformers 4 and 5 know; 5 would write one that 4 does not.
    _edit_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def _edit_json(path: Path, drop: Sequence[str] = (), **values: Any) -> None:
    content = {**json.loads(path.read_text()), **values}
    kept = {key: value for key, value in content.items() if key not in drop}
    path.write_text(json.dumps(kept, indent=2) + "\n")


# --- stage 2: language model ---------------------------------------------------------------------


def train_lm(folder: Path, recipe: LMRecipe) -> None:
    """Train the GPT-2 from scratch on the training documents; save a Hugging Face model."""
    import torch
    from transformers import AutoTokenizer, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos = tokenizer.bos_token_id
    stream = token_stream(encode_documents(tokenizer, held_out=False), bos)
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    model = GPT2LMHeadModel(_gpt2_config(recipe, bos)).train()
    optimisers = _optimisers(model, recipe)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_lr_factor, recipe=recipe))
        for optimiser in optimisers
    ]
    running = 0.0
    for step in range(recipe.steps):
        row_len = recipe.n_ctx if step % 2 else recipe.short_row
        rows = random_rows(stream, bos, recipe.tokens_per_step // row_len, row_len, generator)
        loss = _next_token_loss(model(rows, use_cache=False).logits, rows)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            schedule.step()
        running += loss.item()
        if (step + 1) % 200 == 0:
            logger.info("step %d: training loss %.3f", step + 1, running / 200)
            running = 0.0
    model.save_pretrained(folder)
    clean_model_config(folder)


def _gpt2_config(recipe: LMRecipe, bos: int) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=recipe.vocab_size,
        n_positions=recipe.n_ctx,
        n_embd=recipe.n_embd,
        n_layer=recipe.n_layer,
        n_head=recipe.n_head,
        activation_function="gelu_new",
        resid_pdrop=recipe.dropout,
        embd_pdrop=recipe.dropout,
        # Dropout inside attention would blur the patterns that the rules are about.
        attn_pdrop=0.0,
        bos_token_id=bos,
        eos_token_id=bos,
    )


def _optimisers(model: torch.nn.Module, recipe: LMRecipe) -> list[torch.optim.Optimizer]:
    import torch

    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and ".h." in name]
    others = [p for name, p in named if not (p.ndim == 2 and ".h." in name)]
    muon = torch.optim.Muon(
        matrices,
        lr=recipe.muon_lr,
        weight_decay=0.1,
        momentum=0.95,
        adjust_lr_fn="match_rms_adamw",
    )
    adam = torch.optim.AdamW(others, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.01)
    return [muon, adam]


def _lr_factor(step: int, recipe: LMRecipe) -> float:
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.lr_floor + (1 - recipe.lr_floor) * (1 + math.cos(math.pi * progress)) / 2


def _next_token_loss(logits: Tensor, rows: Tensor) -> Tensor:
    """Mean cross-entropy (nats) of rows [batch, pos] under logits [batch, pos, vocab]."""
    import torch

    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten())


def clean_model_config(folder: Path) -> None:
    """Drop from config.json what names the machine or its library versions."""
    _edit_json(folder / "config.json", drop=["_name_or_path", "transformers_version"])
    (folder / "generation_config.json").unlink(missing_ok=True)


# --- stages 3 and 4: SAEs ------------------------------------------------------------------------


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
        for batch in torch.split(rows, _EVAL_ROWS):
            mask = batch != bos
            bridge.run_with_hooks(batch, return_type=None, fwd_hooks=hooks)
    return {name: torch.cat(parts) for name, parts in kept.items()}


def _at_site(activations: dict[str, Tensor], site: Site) -> Tensor:
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
    _edit_json(folder / "cfg.json")


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
        save_sae(train_sae(_at_site(activations, site), site, recipe, whole.row_len), out / site.folder)


# --- stage 5: figures ----------------------------------------------------------------------------


def mean_loss(bridge: Any, rows: Tensor, hooks: Sequence[tuple[str, Callable[..., Any]]]) -> float:
    """Mean next-token loss (nats a token) over rows [n_rows, row_len], with hooks in place."""
    import torch

    total = 0.0
    with torch.no_grad():
        for batch in torch.split(rows, _EVAL_ROWS):
            logits = bridge.run_with_hooks(batch, return_type="logits", fwd_hooks=list(hooks))
            total += _next_token_loss(logits, batch).item() * len(batch)
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
        rates = firing_rates(sae, _at_site(capture(bridge, train, [site.hook_name], bos), site))
        seen = _at_site(capture(bridge, held_out, [site.hook_name], bos), site)
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
        "cpu_minutes": _read_timings(out),
        "language_model": {
            # Counted in the file: the processed model unties the embeddings and splits Q, K and V.
            "parameters": _n_stored(out / MODEL_NAME / "model.safetensors"),
            **lm_figures(bridge, recipe.lm, recipe.row_len),
        },
        "saes": sae_figures(bridge, out, recipe),
        "bytes": sizes,
    }
    text = json.dumps(_rounded(figures), indent=2)
    (out / "figures.json").write_text(text + "\n")


def _n_stored(path: Path) -> int:
    """Number of weights in a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


# --- the command ---------------------------------------------------------------------------------


def _read_timings(out: Path) -> dict[str, float]:
    path = out / "cpu_minutes.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _stage(out: Path, name: str, done: Path, run: Callable[[], None]) -> None:
    """Run a stage unless what it ends with exists; record the CPU time it took."""
    if done.exists():
        logger.info("%s: %s exists, skipped", name, done)
        return
    started = time.process_time()
    run()
    minutes = (time.process_time() - started) / 60
    logger.info("%s: %.1f CPU minutes", name, minutes)
    timings = {**_read_timings(out), name: minutes}
    (out / "cpu_minutes.json").write_text(json.dumps(_rounded(timings), indent=2) + "\n")


def run(out: Path, recipe: Recipe) -> None:
    """Run all stages whose output is missing from `out`."""
    lm, model = recipe.lm, out / MODEL_NAME
    inputs, outputs = input_sites(lm), output_sites(lm)
    model.mkdir(parents=True, exist_ok=True)
    _stage(out, "tokenizer", model / "tokenizer.json", lambda: train_tokenizer(model, lm))
    _stage(out, "language_model", model / "model.safetensors", lambda: train_lm(model, lm))
    for name, sites, sae_recipe in (
        ("input_saes", inputs, recipe.input_sae),
        ("output_saes", outputs, recipe.output_sae),
    ):
        stage = partial(train_saes, out, sites, sae_recipe, recipe)
        _stage(out, name, out / sites[-1].folder / "cfg.json", stage)
    _stage(out, "figures", out / "figures.json", lambda: write_figures(out, recipe))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the recipe."""
    parser = argparse.ArgumentParser(prog="python -m attnrules.ingest.demo_training")
    parser.add_argument("out", type=Path, help="folder of the weights; what exists is kept")
    parser.add_argument("--lm-steps", type=int, default=LMRecipe.steps)
    parser.add_argument("--seed", type=int, default=LMRecipe.seed, help="seed of the model")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for torch")
    options = parser.parse_args(arguments)
    # Everything is local: without this the libraries wait for a hub that is not needed.
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    lm = LMRecipe(steps=options.lm_steps, seed=options.seed)
    run(options.out, Recipe(lm=lm))


if __name__ == "__main__":
    main()
