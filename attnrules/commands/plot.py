"""`attnrules plot`: charts of a run, for papers."""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import named_values, parameter_option, warehouse_argument
from attnrules.commands.terminal import say, tell
from attnrules.errors import UsageError


@click.command("plot")
@warehouse_argument
@click.argument("name", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="An .svg, .png or .html file.",
)
@parameter_option("Fill $KEY of the question.")
@click.option("--list", "listing", is_flag=True, help="List the plots.")
def command(
    warehouse: Path, name: str | None, out: Path | None, parameters: tuple[str, ...], listing: bool
) -> None:
    """Write a chart of what a named question answers: lists by size, absence, counting, roles of heads.

    An HTML page of it needs no network. Needs `pip install 'attnrules[plots]'`.

    \b
    attnrules plot gpt2.duckdb average_precision --out lists.svg
    attnrules plot gpt2.duckdb f1 --out f1.png -p example_set=paper
    """
    from attnrules.plots import PLOTS, check_format, draw, write
    from attnrules.warehouse import Warehouse

    if listing or name is None:
        tell(*(f"{plot.name:18} {plot.title}  [question {plot.question}]" for plot in PLOTS.values()))
        return
    if out is None:
        raise UsageError(f"{name}: say where to write it with --out FILE.svg, .png or .html")
    check_format(out)
    with Warehouse.open(warehouse) as opened:
        given = {key: value for key, (_, value) in named_values(parameters).items()}
        write(draw(opened, name, given), out)
    say(f"wrote {out}")
