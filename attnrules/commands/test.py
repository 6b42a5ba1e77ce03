"""`attnrules test`: a rule that you state, or those that the model confirms, judged as they are read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from attnrules.commands.options import Count, json_option, warehouse_argument
from attnrules.commands.output import tell_json
from attnrules.commands.terminal import tell, visible
from attnrules.commands.wording import in_sequences, narrowing_words
from attnrules.errors import UsageError

if TYPE_CHECKING:
    from attnrules.queries.stated import Reading

_KINDS = {
    "right": "right: the rule holds and the feature is active",
    "wrong": "wrong: the rule holds and the feature is silent",
    "missed": "missed: the feature is active and the rule does not hold",
}


@click.command("test")
@warehouse_argument
@click.argument("rule", metavar="RULE", required=False)
@click.option(
    "--confirmed",
    is_flag=True,
    help="In place of RULE, what confirmed absence and counting rules add to a rule.",
)
@click.option("--examples", type=Count(0), default=4, show_default=True, help="Of each kind.")
@click.option(
    "--seed", type=Count(0), help="Says which sequences are for testing.  [that of the mining, or 0]"
)
@json_option("As JSON.")
def command(
    warehouse: Path, rule: str | None, confirmed: bool, examples: int, seed: int | None, as_json: bool
) -> None:
    """Judge a rule exactly as it is read, on every position after BOS of the test sequences.

    A rule joins up to three conditions by `and`; features are L0.i17, tokens stand in quotes.

    \b
    attnrules test gpt2.duckdb "[' a', ' an'] at -1 -> L0H3.17"
    attnrules test gpt2.duckdb "[same] before and no [L0.i5] at -4..-1 -> L0H3.17"
    attnrules test gpt2.duckdb --confirmed
    """
    if confirmed == (rule is not None):
        raise UsageError("name one RULE, or --confirmed for those that the model confirms")
    if rule is None:
        _test_confirmed(warehouse, seed or 0, as_json=as_json)
    else:
        _test(warehouse, rule, examples, seed, as_json=as_json)


def _test_confirmed(warehouse: Path, seed: int, *, as_json: bool) -> None:
    from attnrules.queries.stated import read_confirmed
    from attnrules.warehouse import Warehouse

    with Warehouse.open(warehouse) as opened:
        found = read_confirmed(opened, seed=seed)
    if as_json:
        tell_json([asdict(one) for one in found])
    elif found:
        tell(
            *(
                line
                for one in found
                for line in (f"{one.statement} → {one.feature}", f"  {narrowing_words(asdict(one))}")
            )
        )
    else:
        tell("no absence or counting rule is confirmed: `attnrules intervene` tests them")


def _test(warehouse: Path, rule: str, examples: int, seed: int | None, *, as_json: bool) -> None:
    from attnrules.queries.stated import parse_rule, read_rule
    from attnrules.warehouse import Warehouse

    statement, feature = parse_rule(rule)
    with Warehouse.open(warehouse) as opened:
        reading = read_rule(opened, feature, statement, seed=seed, n_examples=examples)
    if as_json:
        tell_json(asdict(reading))
    else:
        tell(*_lines(reading))


def _lines(reading: Reading) -> list[str]:
    lines = [
        f"{reading.statement} → {reading.feature}",
        f"on {reading.n_positions} positions after BOS of {reading.n_sequences} test sequences"
        f" ({reading.n_active} active, {reading.n_active / reading.n_positions:.1%}):",
        f"  precision  {_rate(reading.precision, reading.precision_interval)}",
        f"  recall     {_rate(reading.recall, reading.recall_interval)}",
        f"  lift       {_rate(reading.lift, reading.lift_interval)}",
        f"  support    {reading.n_hits} of {reading.n_matches} positions where it holds, in"
        f" {in_sequences(reading.n_match_sequences)}",
    ]
    for kind, words in _KINDS.items():
        found = [example for example in reading.examples if example.kind == kind]
        lines += ["", words] if found else []
        for example in found:
            activation = f"{'':7}" if example.activation is None else f"{example.activation:7.3f}"
            lines.append(f"  {activation}  …{visible(example.before[-72:])}«{visible(example.token)}»")
    return lines


def _rate(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "—"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
