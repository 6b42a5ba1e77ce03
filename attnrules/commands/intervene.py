"""`attnrules intervene`: test rules on the model itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from attnrules.commands.options import (
    Count,
    batch_size_option,
    device_option,
    feature_options,
    features_option,
    ingested_sources_options,
    layers_option,
    scaling_option,
    seed_option,
    through_option,
    warehouse_argument,
)
from attnrules.commands.progress import quiet_libraries
from attnrules.commands.terminal import say
from attnrules.errors import UsageError
from attnrules.sql import head_name

# Options of other tests, by the option that asks for a test.
_UNUSED = {
    None: {"n_rules"},
    "--outputs": {"scaling", "copies", "n_tokens", "n_controls", "n_rules"},
    "--stated": {"scaling", "copies", "n_tokens"},
    "--probe": {"features", "scaling", "n_examples", "copies", "n_tokens", "n_controls", "n_rules"},
}

if TYPE_CHECKING:
    from attnrules.ingest.intervene import Laboratory
    from attnrules.queries.interventions import InterveneSpec, OutputSpec, ProbeSpec, StatedSpec, TestSpec
    from attnrules.warehouse import Warehouse


@click.command("intervene")
@warehouse_argument
@ingested_sources_options
@layers_option
@through_option
@features_option("all")
@scaling_option("Which rules to test: those mined under this scaling.")
@click.option(
    "--examples",
    "n_examples",
    type=Count(1),
    default=20,
    show_default=True,
    help="Sequences to change, per rule.",
)
@click.option(
    "--copies",
    type=Count(1),
    default=3,
    show_default=True,
    help="Insert up to so many copies of the distractor's token.",
)
@click.option(
    "--tokens",
    "n_tokens",
    type=Count(1),
    default=3,
    show_default=True,
    help="Tokens that stand for a distractor, each inserted so.",
)
@click.option(
    "--controls",
    "n_controls",
    type=Count(1),
    default=9,
    show_default=True,
    help="Neutral tokens to insert instead, for comparison.",
)
@click.option(
    "--outputs",
    is_flag=True,
    help="Test what features make the model say, instead of rules.",
)
@click.option(
    "--stated",
    is_flag=True,
    help="Test stated rules, instead of absence and counting rules.",
)
@click.option(
    "--rules",
    "n_rules",
    type=Count(1),
    default=1,
    show_default=True,
    help="With --stated: the first rules of each feature.",
)
@click.option(
    "--probe",
    is_flag=True,
    help="Test no rules: read what heads attend to on repeated random tokens.",
)
@device_option("cpu, cuda, mps or auto.")
@batch_size_option("Sequences in a forward pass.")
@seed_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    warehouse: Path,
    device: str,
    batch_size: int | None,
    outputs: bool,
    stated: bool,
    probe: bool,
    **options: Any,
) -> None:
    """Insert and replace tokens, run the model, and see whether rules hold.

    Run `mine absence` or `mine counting` first. Testing again replaces the outcomes of the same features
    and scaling. With --stated the stated rules that `mine skipgrams` has found are tested: planted where the
    feature is silent, it should fire, and with an atom broken where it is active, it should fall. With
    --outputs, which needs no rules, what a feature writes is taken away where it is active, and the
    log-probabilities of next tokens are compared. `--probe` needs nothing mined either; `show L0H3` shows
    what it finds.

    \b
    attnrules intervene gpt2.duckdb --layers 0
    attnrules intervene gpt2.duckdb --model ./gpt2 --features L0H3.17 --examples 50
    attnrules intervene gpt2.duckdb --stated --features L0H3.17 --rules 4
    attnrules intervene gpt2.duckdb --outputs --features L0H3.17
    attnrules intervene gpt2.duckdb --probe
    """
    asked = [f"--{name}" for name, on in (("outputs", outputs), ("stated", stated), ("probe", probe)) if on]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)}: one test at a time")
    test = asked[0] if asked else None
    _refuse_unused(ctx, test)
    quiet_libraries()
    from attnrules.ingest.intervene import Laboratory, LaboratorySpec
    from attnrules.queries.interventions import refuse_untestable
    from attnrules.warehouse import Warehouse

    names = ("model", "revision", "input_sae", "input_sae_id", "output_sae", "output_sae_id")
    sources = LaboratorySpec(
        **{name: options.pop(name) for name in names},
        device=device,
        batch_size=batch_size,
    )
    options = {name: value for name, value in options.items() if name not in _UNUSED[test]}
    if "features" in options:
        options |= feature_options(options.pop("features"))
    spec = _spec(test, options)
    with Warehouse.open(warehouse, writable=True) as opened:
        refuse_untestable(opened, spec)
        say("loading the model ...")
        _test(opened, Laboratory.open(opened, sources), spec)


def _spec(test: str | None, options: dict[str, Any]) -> TestSpec:
    from attnrules.queries.interventions import InterveneSpec, OutputSpec, ProbeSpec, StatedSpec

    specs: dict[str | None, Callable[..., TestSpec]] = {
        None: InterveneSpec,
        "--outputs": OutputSpec,
        "--stated": StatedSpec,
        "--probe": ProbeSpec,
    }
    return specs[test](**options)


def _test(warehouse: Warehouse, laboratory: Laboratory, spec: TestSpec) -> None:
    from attnrules.queries.interventions import OutputSpec, ProbeSpec, StatedSpec

    match spec:
        case OutputSpec():
            _test_outputs(warehouse, laboratory, spec)
        case StatedSpec():
            _test_stated(warehouse, laboratory, spec)
        case ProbeSpec():
            _probe(warehouse, laboratory, spec)
        case _:
            _test_rules(warehouse, laboratory, spec)


def _refuse_unused(ctx: click.Context, test: str | None) -> None:
    """Raise `UsageError` for an option that was given and that the test asked for does not use."""
    for parameter in ctx.command.params:
        name = str(parameter.name)
        if name in _UNUSED[test] and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            asked = (
                f"{test} does not use it"
                if test
                else "the test of absence and counting rules does not use it"
            )
            raise UsageError(f"{parameter.opts[0]}: {asked}; leave it out")


def _test_rules(warehouse: Warehouse, laboratory: Laboratory, spec: InterveneSpec) -> None:
    from attnrules.queries.interventions import intervene

    result = intervene(warehouse, spec, laboratory, _report)
    for head in result.heads:
        say(
            f"{head_name(head.layer, head.head)}: {head.n_pairs_confirmed} absence rules confirmed of"
            f" {head.n_pairs_tested} tested{_by_chance(head.n_pairs_by_chance)}"
            f" ({head.n_pairs} pairs have a distractor key),"
            f" {head.n_counting_confirmed} counting rules of {head.n_counting_tested} tested"
            f" ({head.n_counting}); {head.n_passes} sequences run",
        )


def _test_outputs(warehouse: Warehouse, laboratory: Laboratory, spec: OutputSpec) -> None:
    from attnrules.queries.interventions import intervene_on_outputs

    result = intervene_on_outputs(warehouse, spec, laboratory, _report)
    for head in result.heads:
        say(
            f"{head_name(head.layer, head.head)}: {head.n_tested} of {head.n_features} features tested,"
            f" {head.n_saying} of them make the model say a token; {head.n_confirmed} of {head.n_tokens}"
            f" tokens confirmed, of random ones {head.n_random_confirmed} of {head.n_random};"
            f" {head.n_passes} sequences run"
        )


_NOT_AS_MEANT = "changes that did not do what they were meant to, and controls that did"


def _test_stated(warehouse: Warehouse, laboratory: Laboratory, spec: StatedSpec) -> None:
    from attnrules.queries.interventions import intervene_on_stated

    result = intervene_on_stated(warehouse, spec, laboratory, _report)
    for head in result.heads:
        say(
            f"{head_name(head.layer, head.head)}: {head.n_rules_confirmed} of {head.n_rules_tested} stated"
            f" rules planted are sufficient{_by_chance(head.n_rules_by_chance)} ({head.n_rules} rules),"
            f" {head.n_atoms_confirmed} of {head.n_atoms_tested} atoms broken are"
            f" necessary{_by_chance(head.n_atoms_by_chance)}; {head.n_passes} sequences run"
            + (f", {head.n_left_out} not judged: {_NOT_AS_MEANT}" if head.n_left_out else "")
        )


def _probe(warehouse: Warehouse, laboratory: Laboratory, spec: ProbeSpec) -> None:
    """Probe the heads that were chosen, and say which role is the clearest of each."""
    from attnrules.queries.interventions import probe

    rows = probe(warehouse, spec, laboratory, lambda layer: say(f"probing {layer} ..."))
    for name in dict.fromkeys(head_name(row["layer"], row["head"]) for row in rows):
        roles = [row for row in rows if head_name(row["layer"], row["head"]) == name]
        words = ", ".join(f"{row['role']} {row['attention']:.2f}" for row in roles)
        say(f"{name}: {words}")


def _report(head: str) -> None:
    say(f"testing {head} ...")


def _by_chance(n: float | None) -> str:
    return "" if n is None else f", {n:.1f} expected by chance"
