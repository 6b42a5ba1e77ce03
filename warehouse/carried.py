"""Rows of a catalogue, carried as Parquet files from a copy of it into the catalogue itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from attnrules.errors import AttnRulesError
from attnrules.warehouse.store import Warehouse


def write_rows(
    warehouse: Warehouse, table: str, chosen: str, parameters: Mapping[str, object], folder: Path
) -> None:
    """Write the rows of a table that are `chosen`, a condition with parameters, to a file of `folder`."""
    rows = warehouse.sql(f"SELECT * FROM {table} WHERE {chosen}", parameters).to_arrow_table()
    parquet.write_table(rows, folder / f"{table}.parquet", compression="zstd")


def replace_rows(
    warehouse: Warehouse, table: str, chosen: str, parameters: Mapping[str, object], folder: Path
) -> None:
    """Let the rows that are `chosen` be those that `write_rows` wrote; call it in a transaction.

    Raises `AttnRulesError` where the file is missing or damaged.
    """
    rows = read_rows(folder / f"{table}.parquet")
    warehouse.execute(f"DELETE FROM {table} WHERE {chosen}", parameters)
    if rows.num_rows:
        warehouse.append(table, rows)


def read_rows(path: Path) -> pa.Table:
    """Return the rows of a Parquet file; raises `AttnRulesError` where it is missing or damaged."""
    try:
        # Not the folders around it: they are no keys.
        return parquet.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> AttnRulesError:
    """Return what is raised for a file of a task that cannot be read."""
    return AttnRulesError(f"{path}: cannot be read: {error}; remove its folder and run the command again")
