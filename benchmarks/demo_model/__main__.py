"""The recipe of the embedded demo model: `python -m benchmarks.demo_model OUT_DIR`.

Every step from the demo corpus to the shipped weights (tokenizer, language model, input SAEs, output SAEs,
figures), each skipped where its output exists already. Needs torch 2.9 or later, for its Muon optimiser.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.demo_model.autoencoders import train_saes
from benchmarks.demo_model.figures import write_figures
from benchmarks.demo_model.files import read_timings, rounded
from benchmarks.demo_model.language_model import train_lm, train_tokenizer
from benchmarks.demo_model.recipe import MODEL_NAME, LMRecipe, Recipe, input_sites, output_sites

logger = logging.getLogger(__name__)


def _stage(out: Path, name: str, done: Path, run: Callable[[], None]) -> None:
    """Run a stage unless what it ends with exists; record the CPU time it took."""
    if done.exists():
        logger.info("%s: %s exists, skipped", name, done)
        return
    started = time.process_time()
    run()
    minutes = (time.process_time() - started) / 60
    logger.info("%s: %.1f CPU minutes", name, minutes)
    timings = {**read_timings(out), name: minutes}
    (out / "cpu_minutes.json").write_text(json.dumps(rounded(timings), indent=2) + "\n")


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_model")
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
