"""`attnrules export`: the tables as Parquet."""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import warehouse_argument
from attnrules.commands.terminal import say


@click.command("export")
@warehouse_argument
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--tables", metavar="A,B", help="Only these tables or views.  [every table]")
def command(warehouse: Path, folder: Path, tables: str | None) -> None:
    """Write every table to DIR as Parquet, with a manifest of row counts and sha256s.

    DIR must be empty or not exist yet; it appears when everything is written.

    \b
    attnrules export gpt2.duckdb gpt2-parquet
    attnrules export gpt2.duckdb metrics --tables rules,rule_metrics
    """
    from attnrules.warehouse import Warehouse, export

    names = None if tables is None else [name.strip() for name in tables.split(",")]
    with Warehouse.open(warehouse) as opened:
        exported = export(opened, folder, tables=names)
    n_rows = sum(table.rows for table in exported)
    n_bytes = sum(table.bytes for table in exported)
    say(f"{folder}: {len(exported)} tables, {n_rows:,} rows, {n_bytes / 1e6:.1f} MB")
