"""A warehouse as a folder of Parquet files, for whatever does not read DuckDB."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from attnrules import sql
from attnrules.errors import AttnRulesError, UsageError, closest
from attnrules.warehouse.files import unused_name_beside
from attnrules.warehouse.store import Warehouse

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ExportedTable:
    """One table of an export: its file in the folder, rows, bytes, digest, and columns name to type."""

    name: str
    file: str
    rows: int
    bytes: int
    sha256: str
    columns: dict[str, str]


def export(warehouse: Warehouse, folder: Path, *, tables: Sequence[str] | None = None) -> list[ExportedTable]:
    """Write tables to `folder` as `<table>.parquet` with a `manifest.json`, all of them or nothing.

    `tables` may name views too; None takes every table. Rows keep their stored order. A vector becomes a
    list column, JSON text. Raises `UsageError` for an unknown table, `AttnRulesError` when `folder` is not
    empty or cannot be written; nothing is left behind then.
    """
    chosen = _chosen(warehouse, tables)
    with folder_made_whole(folder) as unfinished:
        exported = [_write(warehouse, name, unfinished) for name in chosen]
        manifest = {
            "schema_version": warehouse.value("SELECT version FROM schema_version"),
            "warehouse": warehouse.path.name,
            "tables": {
                table.name: {
                    "file": table.file,
                    "rows": table.rows,
                    "bytes": table.bytes,
                    "sha256": table.sha256,
                    "columns": table.columns,
                }
                for table in exported
            },
        }
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return exported


def _chosen(warehouse: Warehouse, tables: Sequence[str] | None) -> list[str]:
    if tables is None:
        return sql.table_names()
    known = {row[0] for row in warehouse.rows("SELECT table_name FROM information_schema.tables")}
    for name in tables:
        if name not in known:
            raise UsageError(
                f"no table or view named {name!r}{closest(name, known)}; there are {', '.join(sorted(known))}"
            )
    return list(dict.fromkeys(tables))


def _write(warehouse: Warehouse, name: str, folder: Path) -> ExportedTable:
    from pyarrow import parquet

    path = folder / f"{name}.parquet"
    relation = warehouse.relation(name)
    columns = {c: str(t) for c, t in zip(relation.columns, relation.types, strict=True)}
    readable = [
        duckdb.ColumnExpression(c).cast(_readable(t)).alias(c)
        for c, t in zip(relation.columns, relation.types, strict=True)
    ]
    n_rows = 0
    chosen = relation.select(*readable)
    # Not by DuckDB's own writer: SQL has no access to files.
    with parquet.ParquetWriter(path, chosen.limit(0).to_arrow_table().schema, compression="zstd") as writer:
        for batch in chosen.batches():
            writer.write_batch(batch, row_group_size=batch.num_rows)
            n_rows += batch.num_rows
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ExportedTable(name, path.name, n_rows, path.stat().st_size, digest, columns)


def _readable(kind: Any) -> Any:
    # Parquet's JSON type reaches some readers as bytes; text reaches all of them. So do lists, not arrays.
    if str(kind) == "JSON":
        return "VARCHAR"
    return f"{kind.children[0][1]}[]" if kind.id == "array" else kind


@contextmanager
def folder_made_whole(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill that becomes `folder` when the block ends well, and vanishes otherwise."""
    refuse_no_folder(folder)
    folder = folder.absolute()
    unfinished = unused_name_beside(folder)
    try:
        unfinished.mkdir()
        yield unfinished
        # Replaces an empty folder; one that another export has filled meanwhile is left as it is.
        unfinished.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise AttnRulesError(
                f"{folder}: was filled by another command meanwhile; name another"
            ) from error
        raise AttnRulesError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def refuse_no_folder(folder: Path) -> None:
    """Raise `AttnRulesError` unless a folder can be made as `folder`, or is there and empty."""
    if folder.exists() and not folder.is_dir():
        raise AttnRulesError(f"{folder}: is a file; name a folder that is empty or does not exist")
    if folder.is_dir() and any(folder.iterdir()):
        raise AttnRulesError(f"{folder}: is not empty; name a folder that is empty or does not exist")
    if not folder.absolute().parent.is_dir():
        raise AttnRulesError(f"{folder}: the folder {folder.absolute().parent} does not exist; make it first")
