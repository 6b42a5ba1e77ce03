"""`attnrules lake`: a warehouse file as a folder of Parquet that many machines read, and back."""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import heads_option, layers_option, warehouse_argument
from attnrules.commands.terminal import say, tell

# A step over fewer rows takes no time that anybody would wonder about.
_WORTH_TELLING = 1_000_000


@click.command("lake")
@warehouse_argument
@click.argument("target", type=click.Path(path_type=Path), metavar="TARGET")
@layers_option
@heads_option
def command(
    warehouse: Path, target: Path, layers: tuple[int, ...] | None, heads: tuple[int, ...] | None
) -> None:
    """Make a lake of a warehouse file, or a file of a lake; the old one stays as it is.

    A lake is a folder: facts as Parquet files, and a small catalogue, a DuckDB file, with everything else.
    Every command takes it in place of a file. All rows of the copy are checked before it gets its name.
    With --layers and --heads the copy has these alone, and all that belongs to no layer.

    \b
    attnrules lake gpt2.duckdb gpt2-lake
    attnrules lake gpt2-lake gpt2-again.duckdb
    attnrules lake gpt2-lake head.duckdb --layers 0 --heads 3
    """
    from attnrules.warehouse.convert import convert
    from attnrules.warehouse.part import Part

    done = convert(warehouse, target, report=_tell, part=Part(layers, heads))
    before, after = (n_bytes / 1e6 for n_bytes in done.n_bytes)
    tell(f"{target}: {done.n_rows:,} rows, {before:,.1f} MB -> {after:,.1f} MB")
    for kind, name in done.left_out:
        tell(f"not copied, no part of a warehouse: {kind} {name!r}")


def _tell(what: str, n_rows: int) -> None:
    if n_rows >= _WORTH_TELLING:
        say(f"{what}: {n_rows:,} rows")
