"""Tokenizer and language model, trained from scratch on the training documents."""

from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.demo.corpus import iter_documents
from benchmarks.demo_model.files import edit_json
from benchmarks.demo_model.recipe import BOS, LMRecipe
from benchmarks.demo_model.text import encode_documents, random_rows, token_stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)


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
    edit_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


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
        loss = next_token_loss(model(rows, use_cache=False).logits, rows)
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


def next_token_loss(logits: Tensor, rows: Tensor) -> Tensor:
    """Mean cross-entropy (nats) of rows [batch, pos] under logits [batch, pos, vocab]."""
    import torch

    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten())


def clean_model_config(folder: Path) -> None:
    """Drop from config.json what names the machine or its library versions."""
    edit_json(folder / "config.json", drop=["_name_or_path", "transformers_version"])
    (folder / "generation_config.json").unlink(missing_ok=True)
