"""What was captured of a chunk, carried as files from whoever captured it into the lake."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyarrow import parquet

from attnrules.errors import AttnRulesError, one_line
from attnrules.warehouse.carried import read_rows
from attnrules.warehouse.digests import FACTS
from attnrules.warehouse.lake import Lake
from attnrules.warehouse.store import Warehouse

_TABLES = "tables.json"


@dataclass(frozen=True)
class Captured:
    """The tables of a chunk as files of a folder.

    Arguments:
        folder: absolute. tables: rows and files, relative to the folder, of each table.
    """

    folder: Path
    tables: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Captured:
        """Return what `write_captured` wrote to a folder; raises `AttnRulesError` where it is damaged."""
        path = folder.resolve() / _TABLES
        try:
            return cls(path.parent, json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise AttnRulesError(f"{path}: cannot be read: {error}; remove {folder}") from error

    def files(self, table: str) -> list[Path]:
        """Return the files of a table."""
        return [self.folder / name for name in self.tables.get(table, {}).get("files", ())]

    def n_rows(self) -> dict[str, int]:
        """Return the rows of each table that there is."""
        return {table: int(of_table["n_rows"]) for table, of_table in self.tables.items()}


def write_captured(tables: Mapping[str, pa.Table], folder: Path) -> None:
    """Write the tables of a chunk below `folder`, facts as files of a lake.

    Raises `AttnRulesError` where they cannot be written.
    """
    lake, written = Lake.at(folder), {}
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            for table, rows in tables.items():
                if table in FACTS:
                    paths = lake.write_rows(connection, table, rows)
                else:
                    paths = [lake.root / f"{table}.parquet"]
                    parquet.write_table(rows, paths[0], compression="zstd")
                names = [str(path.relative_to(lake.root)) for path in paths]
                written[table] = {"n_rows": rows.num_rows, "files": names}
        (folder / _TABLES).write_text(json.dumps(written), "utf-8")
    except (OSError, duckdb.Error) as error:
        raise AttnRulesError(f"{folder}: cannot be written to: {one_line(error)}") from error


def store_captured(warehouse: Warehouse, chunks: Sequence[Captured]) -> None:
    """Take the facts of chunks into a lake, with their digests and contributions, in a transaction.

    Raises `AttnRulesError` where a file is missing or damaged.
    """
    for table in sorted(FACTS):
        if paths := [path for chunk in chunks for path in chunk.files(table)]:
            warehouse.adopt(table, paths)
    for chunk in chunks:
        for path in chunk.files("added_contributions"):
            warehouse.add_contributions(read_rows(path))
        for path in chunk.files("digests"):
            warehouse.append("digests", read_rows(path))
