"""`attnrules demo`: the whole path on the embedded model, then what to try next."""

from __future__ import annotations

import tempfile
from importlib.resources import as_file, files
from pathlib import Path

import click

from attnrules.commands.options import Count
from attnrules.commands.progress import quiet_libraries, run_ingest
from attnrules.commands.show import statements
from attnrules.commands.terminal import say, tell
from attnrules.commands.wording import (
    best_list_words,
    reading_lines,
    reading_words,
    right_side,
    typical_list_words,
)


@click.command("demo")
@click.argument(
    "warehouse",
    type=click.Path(path_type=Path),
    default=Path("attnrules-demo.duckdb"),
    metavar="[WAREHOUSE]",
)
@click.option(
    "--sequences",
    type=Count(600),
    default=2000,
    show_default=True,
    help="Sequences of 64 tokens, of the prose in Python's standard library.",
)
def command(warehouse: Path, sequences: int) -> None:
    """Run ingest and mining on the embedded model and print the rules that predict best.

    The model, its SAEs and its corpus come with the package and with Python itself: nothing is
    downloaded. WAREHOUSE is the file to make, attnrules-demo.duckdb if left out.
    """
    _ingest(warehouse, sequences)
    _mine(warehouse)
    print_best(warehouse)


def _ingest(path: Path, n_sequences: int) -> None:
    quiet_libraries()
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
