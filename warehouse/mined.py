"""What was mined of a head, carried as Parquet files from a copy of a catalogue into the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from attnrules.errors import AttnRulesError
from attnrules.warehouse import digests
from attnrules.warehouse.store import Warehouse

_OF_FEATURES = "layer = $layer AND head = $head AND feature = ANY($features)"


def write_mined(warehouse: Warehouse, layer: int, head: int, features: Sequence[int], folder: Path) -> None:
    """Write all rows that were mined of these output features to `folder`, with their digests."""
    chosen = {"layer": layer, "head": head, "features": list(features)}
    for table in (*digests.mined_tables(), "digests"):
        rows = warehouse.sql(f"SELECT * FROM {table} WHERE {_OF_FEATURES}", chosen).to_arrow_table()
        parquet.write_table(rows, folder / f"{table}.parquet", compression="zstd")


def replace_mined(warehouse: Warehouse, layer: int, head: int, features: Sequence[int], folder: Path) -> None:
    """Store what `write_mined` wrote in place of all that was mined of these features, in one transaction.

    Raises `AttnRulesError` where a file is missing or damaged; nothing is stored then.
    """
    chosen = {"layer": layer, "head": head, "features": list(features)}
    with warehouse.transaction():
        for table in (*digests.mined_tables(), "digests"):
            warehouse.execute(f"DELETE FROM {table} WHERE {_OF_FEATURES}", chosen)
            if (rows := read_rows(folder / f"{table}.parquet")).num_rows:
                warehouse.append(table, rows)


def read_rows(path: Path) -> pa.Table:
    """Return the rows of a Parquet file; raises `AttnRulesError` where it is missing or damaged."""
    try:
        # Not the folders around it: they are no keys.
        return parquet.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise AttnRulesError(
            f"{path}: cannot be read: {error}; remove its folder and run the command again"
        ) from error
