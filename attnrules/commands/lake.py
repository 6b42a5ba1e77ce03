"""`attnrules lake`: a warehouse file as a folder of Parquet that many machines read, and back; and S3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from attnrules.commands.options import heads_option, layers_option
from attnrules.commands.terminal import say, tell
from attnrules.errors import UsageError

if TYPE_CHECKING:
    from attnrules.warehouse.objects import Address
    from attnrules.warehouse.part import Part

# A step over fewer rows takes no time that anybody would wonder about.
_WORTH_TELLING = 1_000_000


@click.command("lake")
@click.argument("warehouse", metavar="WAREHOUSE")
@click.argument("target", metavar="TARGET")
@layers_option
@heads_option
def command(
    warehouse: str, target: str, layers: tuple[int, ...] | None, heads: tuple[int, ...] | None
) -> None:
    """Make a lake of a warehouse file, or a file of a lake; the old one stays as it is.

    A lake is a folder: facts as Parquet files, and a small catalogue, a DuckDB file, with everything else.
    Every command takes it in place of a file. All rows of the copy are checked before it gets its name.
    With --layers and --heads the copy has these alone, and all that belongs to no layer. A TARGET that ends
    in / is a lake whatever it is made of.

    To and from S3 a lake is copied as it is: what is there already is not sent again, and a lake that
    somebody else has published to meanwhile is refused.

    \b
    attnrules lake gpt2.duckdb gpt2-lake
    attnrules lake gpt2-lake gpt2-again.duckdb
    attnrules lake gpt2-lake head.duckdb --layers 0 --heads 3
    attnrules lake gpt2-lake/ s3://bucket/gpt2/
    attnrules lake s3://bucket/gpt2/ layer/ --layers 0
    """
    from attnrules.warehouse.objects import Address
    from attnrules.warehouse.part import Part

    part = Part(layers, heads)
    there, here = Address.read(target), Address.read(warehouse)
    if there is not None:
        if here is not None:
            raise UsageError(f"{target}: from S3 to S3 goes through this machine; fetch it first, to DIR/")
        _publish(Path(warehouse), there, part)
    elif here is not None:
        _fetch(here, target, part)
    else:
        _convert(Path(warehouse), target, part)


def _publish(lake: Path, address: Address, part: Part) -> None:
    from attnrules.warehouse.remote import publish

    if not part.is_whole:
        raise UsageError(f"{address}: whole lakes are published; make a lake of the part first, with DIR/")
    done = publish(lake, address, say)
    tell(
        f"{address}: {done.n_files} files published, {done.n_bytes / 1e6:,.1f} MB; {done.n_there} were there"
    )


def _fetch(address: Address, target: str, part: Part) -> None:
    from attnrules.warehouse.remote import fetch

    path = Path(target)
    done = fetch(address, path, _tell, part=part, to_lake=target.endswith("/") or path.is_dir(), say=say)
    tell(f"{target}: {done.n_files} files fetched, {done.n_bytes / 1e6:,.1f} MB")


def _convert(warehouse: Path, target: str, part: Part) -> None:
    from attnrules.warehouse.convert import convert

    path = Path(target)
    done = convert(warehouse, path, report=_tell, part=part, to_lake=target.endswith("/") or None)
    before, after = (n_bytes / 1e6 for n_bytes in done.n_bytes)
    tell(f"{path}: {done.n_rows:,} rows, {before:,.1f} MB -> {after:,.1f} MB")
    for kind, name in done.left_out:
        tell(f"not copied, no part of a warehouse: {kind} {name!r}")


def _tell(what: str, n_rows: int) -> None:
    if n_rows >= _WORTH_TELLING:
        say(f"{what}: {n_rows:,} rows")
