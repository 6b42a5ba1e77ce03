"""`attnrules mine`: find rules in a warehouse. Needs neither the model nor torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from attnrules.commands.options import heads_option, layers_option, seed_option, warehouse_argument


@click.group("mine")
def command() -> None:
    """Find rules: `mine skipgrams`."""


@command.command("skipgrams")
@warehouse_argument
@click.option(
    "--method",
    type=click.Choice(
        [
            *("best", "magnitude", "importance", "unigram", "mined"),
            *("weighted", "weighted_signed", "weighted_groups", "weighted_pairs", "all"),
        ]
    ),
    default="best",
    show_default=True,
    metavar="METHOD",
    help="How rules are found and ranked: best (weighted and weighted_groups), magnitude, importance, unigram,"
    " mined, weighted, weighted_signed, weighted_groups, weighted_pairs or all.",
)
@click.option(
    "--num-values", type=click.IntRange(1), default=100, show_default=True, help="Keys per feature."
)
@click.option(
    "--num-queries", type=click.IntRange(1), default=100, show_default=True, help="Queries per key."
)
@click.option(
    "--max-rules",
    type=click.IntRange(4),
    default=4096,
    show_default=True,
    help="Rules per feature.",
)
@click.option(
    "--scaling",
    type=click.Choice(["paper", "model"]),
    default="paper",
    show_default=True,
    help="Attention scores as in the paper, or as the model scales them.",
)
@click.option("--negative-values", is_flag=True, help="Take the largest |V|: suppressors too.")
@click.option("--bos-keys", is_flag=True, help="Let a key match at the BOS position.")
@layers_option
@heads_option
@click.option("--features", default="100", show_default=True, help="How many per head, all, or L0H3.17,...")
@click.option("--min-count", type=click.IntRange(0), help="Least sequences a feature fires in.  [3m]")
@click.option("--max-count", type=click.IntRange(0), help="Most sequences a feature fires in.  [N - 3m]")
@click.option(
    "--examples-per-split",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="m: 3m active and 3m inactive examples per feature.",
)
@click.option(
    "--example-sets",
    default="paper,all_positions",
    show_default=True,
    help="What rules are judged on: paper, uniform, bins, all_positions.",
)
@click.option(
    "--held-out",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Sequences of train and of test in the set all_positions.",
)
@click.option(
    "--aggregation",
    type=click.Choice(["max", "sum", "max_of_sums", "sum_of_maxima"]),
    default="max",
    show_default=True,
    help="How the scores of matches become a prediction.",
)
@click.option(
    "--baselines/--no-baselines",
    default=True,
    show_default=True,
    help="Judge baselines and ceilings beside the rules.",
)
@seed_option
def skipgrams(warehouse: Path, features: str, example_sets: str, **options: Any) -> None:
    """Find skip-gram rules and measure how well they predict.

    Mining again replaces the rules of the same features, method and scaling.

    \b
    attnrules mine skipgrams gpt2.duckdb --layers 0 --heads 3 --features all
    attnrules mine skipgrams gpt2.duckdb --features L0H3.17 --method magnitude
    """
    from attnrules.queries.card import parse_feature
    from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
    from attnrules.warehouse import Warehouse

    chosen: dict[str, Any] = {"example_sets": tuple(part.strip() for part in example_sets.split(","))}
    if features == "all":
        chosen["n_features"] = None
    elif features.isdigit():
        if not int(features):
            raise click.BadParameter("must be at least 1", param_hint="--features")
        chosen["n_features"] = int(features)
    else:
        chosen["features"] = tuple(parse_feature(part) for part in features.split(","))
    with Warehouse.open(warehouse, writable=True) as opened:
        result = mine_skipgrams(
            opened,
            SkipgramSpec(**options, **chosen),
            lambda head: click.echo(f"mining {head} ...", err=True),
        )
    for line in result.ineligible:
        click.echo(f"attnrules: note: {line}", err=True)
    for head in result.heads:
        click.echo(
            f"L{head.layer}H{head.head}: {head.n_features} features mined of {head.n_eligible} eligible"
            f" ({head.n_rare} too rare, {head.n_silent} of them silent; {head.n_common} too common),"
            f" {head.n_rules} rules",
            err=True,
        )
