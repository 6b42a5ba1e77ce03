"""`attnrules report`: a warehouse as a static web site."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click

from attnrules.commands.options import warehouse_argument
from attnrules.commands.terminal import say


@click.command("report")
@warehouse_argument
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--features",
    metavar="L0H3.17,...",
    help="Features that get a page.  [those with rules]",
)
def command(warehouse: Path, folder: Path, features: str | None) -> None:
    """Write pages of the model, its heads and features to DIR, which open without a network.

    DIR must be empty or not exist yet; it appears when everything is written. Open DIR/index.html.

    \b
    attnrules report gpt2.duckdb gpt2-pages
    attnrules report gpt2.duckdb two-features --features L0H3.17,L0H3.20
    """
    from attnrules.pages import write_site
    from attnrules.queries.heads import parse_feature
    from attnrules.warehouse import Warehouse

    wanted = [parse_feature(name.strip()) for name in features.split(",")] if features is not None else []
    with Warehouse.open(warehouse) as opened:
        written = write_site(opened, folder, features=wanted, report=lambda name: say(f"writing {name} ..."))
    say(
        f"{folder}: {written.n_heads} heads, {written.n_features} features,"
        f" {written.n_bytes / 1e6:.1f} MB; open {quote(str(folder / 'index.html'))}"
    )
