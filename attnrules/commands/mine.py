"""`attnrules mine`: find rules in a warehouse. Needs neither the model nor torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnrules.commands.group import SentenceGroup
from attnrules.commands.options import (
    Count,
    bos_features_option,
    bos_keys_option,
    feature_options,
    features_option,
    layers_option,
    memory_limit_option,
    pairs_option,
    scaling_option,
    seed_option,
    spread_options,
    through_option,
    warehouse_argument,
)
from attnrules.commands.progress import Reporter
from attnrules.commands.terminal import say
from attnrules.commands.wording import typical_list_words
from attnrules.spread import Means, Report, Spread
from attnrules.sql import head_name
from attnrules.sql.methods import best, names

if TYPE_CHECKING:
    from attnrules.mining_tasks import MiningTasks
    from attnrules.queries.absence import AbsenceResult
    from attnrules.queries.counting import CountingResult
    from attnrules.queries.skipgrams import SkipgramResult
    from attnrules.warehouse import Warehouse


class _Mining(SentenceGroup):
    """A group that takes a warehouse in place of a subcommand and mines skip-gram rules then."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand that is meant."""
        word = args[0]
        if word not in self.commands and (Path(word).suffix == ".duckdb" or Path(word).exists()):
            args = ["skipgrams", *args]
        return super().resolve_command(ctx, args)


_spread_options = spread_options(
    "mine", "the heads", "Mine the heads of a lake in N processes at a time; with --slurm, in N of its."
)


def _mine(
    path: Path,
    mine: Callable[..., Any],
    spec: Any,
    spread: Spread,
    memory_limit: str | None,
    words: Callable[[Warehouse, Any], Iterable[str]],
) -> None:
    """Mine here, or by other processes, and say what was mined; `words` reads it before anybody writes."""

    def read(opened: Warehouse, result: Any) -> list[str]:
        return list(words(opened, result))

    if spread.is_here:
        from attnrules.warehouse import Warehouse

        with Warehouse.open(path, writable=True) as opened:
            if memory_limit is not None:
                opened.limit_memory(memory_limit)
            said = read(opened, mine(opened, spec, lambda head: say(f"mining {head} ...")))
    else:
        from attnrules.mining_tasks import MiningTasks
        from attnrules.workers import do_elsewhere

        tasks = MiningTasks.begin(path, mine.__name__.replace("_", " "), spec)
        with Reporter() as reporter:
            means = Means(memory_limit=memory_limit)
            to_do = do_elsewhere(tasks, spread, means, of_all_workers(tasks, reporter))
            said = [to_do] if to_do is not None else tasks.finish(read, _of_storing(tasks, reporter))
    for line in said:
        say(line)


def of_all_workers(tasks: MiningTasks, reporter: Reporter) -> Report:
    """Return what is told of each head, by whichever process it was mined, and shows how far all are."""
    sizes, n = [len(features) for _, _, features in tasks.heads], len(tasks.heads)
    left = {*tasks.pending()}

    def show(line: str | None = None) -> None:
        done = sum(sizes) - sum(sizes[task] for task in left)
        note = f"features; {n - len(left)} of {n} heads"
        reporter.tell("mining", done, sum(sizes), note=note, line=line)

    def report(task: int, n_left: int) -> None:
        left.discard(task)
        show(f"{tasks.names[task]} mined, {n_left} of {n} heads to go")

    if left and sys.stderr.isatty():
        # Before the first head is done, which may take long.
        show()
    return report


def _of_storing(tasks: MiningTasks, reporter: Reporter) -> Callable[[int], None]:
    """Return what is told how many heads are stored."""
    return lambda n: reporter.tell("storing what was mined", n, len(tasks.heads), "heads")


@click.group("mine", cls=_Mining)
def command() -> None:
    """Find rules: `mine skipgrams`, for which `mine` is short, `mine absence`, `mine counting`."""


@command.command("skipgrams")
@warehouse_argument
@click.option(
    "--method",
    type=click.Choice(["best", *names("rules"), "all"]),
    default="best",
    show_default=True,
    metavar="METHOD",
    help="How rules are found and ranked: best"
    f" ({', '.join(best()[:-1])} and {best()[-1]}), {', '.join(names('rules'))} or all.",
)
@click.option("--num-values", type=Count(1), default=100, show_default=True, help="Keys per feature.")
@click.option("--num-queries", type=Count(1), default=100, show_default=True, help="Queries per key.")
@click.option(
    "--max-rules",
    type=Count(4),
    default=4096,
    show_default=True,
    help="Rules per feature.",
)
@scaling_option()
@click.option("--negative-values", is_flag=True, help="Take the largest |V|: suppressors too.")
@bos_keys_option
@layers_option
@through_option
@features_option("100")
@click.option("--min-count", type=Count(0), help="Least sequences a feature fires in.  [3m]")
@click.option("--max-count", type=Count(0), help="Most sequences a feature fires in.  [N - 3m]")
@click.option(
    "--examples-per-split",
    type=Count(1),
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
    type=Count(1),
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
@memory_limit_option
@_spread_options
def skipgrams(
    warehouse: Path,
    features: str,
    example_sets: str,
    memory_limit: str | None,
    spread: Spread,
    **options: Any,
) -> None:
    """Find skip-gram rules and measure how well they predict.

    Mining again replaces the rules of the same features, method and scaling.

    \b
    attnrules mine skipgrams gpt2.duckdb --layers 0 --heads 3 --features all
    attnrules mine skipgrams gpt2.duckdb --features L0H3.17 --method magnitude
    """
    from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams

    sets = tuple(part.strip() for part in example_sets.split(","))
    spec = SkipgramSpec(**options, **feature_options(features), example_sets=sets)
    _mine(warehouse, mine_skipgrams, spec, spread, memory_limit, _skipgram_words)


def _skipgram_words(warehouse: Warehouse, result: SkipgramResult) -> Iterator[str]:
    for line in (*result.ineligible, *result.short, *result.not_judged):
        yield f"attnrules: note: {line}"
    for head in result.heads:
        name = head_name(head.layer, head.head)
        yield (
            f"{name}: {head.n_features} features mined of {head.n_eligible} eligible"
            f" ({head.n_rare} too rare, {head.n_silent} of them silent; {head.n_common} too common),"
            f" {head.n_rules} rules"
        )
        if accuracy := typical_list_words(warehouse, {"layer": head.layer, "head": head.head}):
            yield f"{name}: {accuracy}"
        if head.counted_share is not None:
            yield (
                f"{name}: mined pairs counted in the corpus hold {head.counted_share:.0%}"
                " of what attention contributes through the pairs seen; the rest is pruned"
            )


@command.command("absence")
@warehouse_argument
@pairs_option("(Key, query) pairs per feature: the paper's one, then the next by exp(S) V.")
@scaling_option()
@bos_features_option
@click.option(
    "--max-examples",
    type=Count(1),
    default=200,
    show_default=True,
    help="Corpus examples stored with, and without, the distractor of a pair.",
)
@layers_option
@through_option
@features_option("all")
@seed_option
@memory_limit_option
@_spread_options
def absence(
    warehouse: Path,
    features: str,
    memory_limit: str | None,
    spread: Spread,
    **options: Any,
) -> None:
    """Find absence rules: a distractor that draws attention away from a feature's key.

    Mining again replaces what was found for the same features and scaling, and its interventions.

    \b
    attnrules mine absence gpt2.duckdb --layers 0
    attnrules mine absence gpt2.duckdb --features L0H3.17 --pairs 10
    """
    from attnrules.queries.absence import AbsenceSpec, mine_absence

    spec = AbsenceSpec(**options, **feature_options(features))
    _mine(warehouse, mine_absence, spec, spread, memory_limit, _absence_words)


def _absence_words(_: Warehouse, result: AbsenceResult) -> Iterator[str]:
    for head in result.heads:
        yield (
            f"{head_name(head.layer, head.head)}: {head.n_distractor_keys} of {head.n_pairs} pairs of"
            f" {head.n_features} features have a distractor key, {head.n_examples} examples"
        )


@command.command("counting")
@warehouse_argument
@pairs_option("(Key, query) pairs per feature, as in `mine absence`.")
@click.option(
    "--min-support",
    type=Count(1),
    default=20,
    show_default=True,
    help="Positions with key and query and the feature active; as many with two keys.",
)
@scaling_option()
@bos_features_option
@layers_option
@through_option
@features_option("all")
@seed_option
@memory_limit_option
@_spread_options
def counting(
    warehouse: Path,
    features: str,
    memory_limit: str | None,
    spread: Spread,
    **options: Any,
) -> None:
    """Find counting rules: features that depend on how often a key stands before, not only whether.

    A rule is kept where it tells more than presence does, and more than the position in the sequence does,
    on held-out sequences. Mining again replaces what was found for the same features and scaling, and its
    interventions.

    \b
    attnrules mine counting gpt2.duckdb --layers 0
    """
    from attnrules.queries.counting import CountingSpec, mine_counting

    spec = CountingSpec(**options, **feature_options(features))
    _mine(warehouse, mine_counting, spec, spread, memory_limit, _counting_words)


def _counting_words(_: Warehouse, result: CountingResult) -> Iterator[str]:
    for head in result.heads:
        yield (
            f"{head_name(head.layer, head.head)}: {head.n_counted} of {head.n_pairs} pairs of"
            f" {head.n_features} features are worth counting; {head.n_beat_presence} rules tell more than"
            f" presence on held-out sequences, {head.n_rules} of them more than the position in the sequence"
            " too"
        )
