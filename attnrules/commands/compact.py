"""`attnrules compact`: the small files of a lake merged."""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import warehouse_argument
from attnrules.commands.terminal import tell


@click.command("compact")
@warehouse_argument
def command(warehouse: Path) -> None:
    """Merge the files of a lake, so that each layer and head has one a table.

    An ingest writes files for each chunk; few large ones are read faster. Files that killed commands left
    are removed.

    \b
    attnrules compact gpt2-lake
    """
    from attnrules.warehouse import Warehouse

    with Warehouse.open(warehouse, writable=True) as opened:
        before, after = opened.compact()
    tell(f"{warehouse}: {before} files -> {after}")
