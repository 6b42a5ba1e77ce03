"""One warehouse file: opening, creating, bulk loading, transactions, the ledger of runs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from attnrules import sql
from attnrules.errors import AttnRulesError, WarehouseUnavailableError
from attnrules.warehouse import catalogue, digests
from attnrules.warehouse.connection import connect

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_LIBRARIES = (
    *("attnrules", "duckdb", "numpy", "polars", "pyarrow", "torch", "transformers", "transformer_lens"),
    *("tokenizers", "sae-lens", "safetensors", "datasets", "huggingface_hub"),
)


class Warehouse:
    """A connection to one warehouse file; use it as a context manager or call `close`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.connection = connection
        self.path = path

    @classmethod
    def open(cls, path: Path, *, writable: bool = False, allow_files: bool = False) -> Self:
        """Open an existing warehouse, read-only unless `writable`.

        SQL reaches nothing outside the file and changes no setting, unless `allow_files`.

        Raises `WarehouseUnavailableError` when the file is missing, locked by another process, not a
        DuckDB database, not a warehouse, or of another schema version.
        """
        if not path.exists():
            raise WarehouseUnavailableError(
                f"{path}: no such warehouse; make one with `attnrules ingest {path} ...` or `attnrules demo`"
            )
        warehouse = cls(connect(path, writable=writable, allow_files=allow_files), path)
        try:
            catalogue.verify(warehouse.connection, path)
        except BaseException:
            warehouse.close()
            raise
        return warehouse

    @classmethod
    def create(cls, path: Path, *, d_head: int) -> Self:
        """Create a warehouse for heads of width `d_head` at `path`, which must not exist.

        A failure leaves no file behind. Raises
        `WarehouseUnavailableError` when the place cannot be written.
        """
        if path.exists():
            raise WarehouseUnavailableError(f"{path}: already exists")
        if not path.parent.is_dir():
            raise WarehouseUnavailableError(f"{path}: the folder {path.parent} does not exist; make it first")
        # Made under another name: a kill half-way must not leave a file that is no warehouse.
        unfinished = path.with_name(path.name + ".creating")
        unfinished.unlink(missing_ok=True)
        identity = sql.new_identity()
        try:
            with (
                cls(
                    connect(unfinished, writable=True, storage_version=sql.STORAGE_VERSION), path
                ) as warehouse,
                warehouse.transaction(),
            ):
                for statement in [*sql.table_statements(d_head, identity), *sql.view_statements(identity)]:
                    warehouse.connection.execute(statement)
                warehouse.connection.execute(
                    sql.ledger_statement("stamp_version"),
                    {"version": sql.SCHEMA_VERSION, "created_by": _version_of("attnrules")},
                )
                digests.stamp(warehouse)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return cls.open(path, writable=True)

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the file is then free for other processes."""
        with suppress(duckdb.Error):
            self.connection.close()

    def sql(self, query: str, parameters: Mapping[str, object] | None = None) -> Any:
        """Run `query` and return a DuckDB relation (`.pl()`, `.to_arrow_table()`, `.df()`).

        `parameters` fill the `$name` places of the query. Raises `AttnRulesError` with DuckDB's first
        line when the query fails.
        """
        try:
            return self.connection.sql(query, params=dict(parameters) if parameters else None)
        except duckdb.Error as error:
            raise AttnRulesError(f"query failed: {_first_line(error)}") from error

    def execute(self, statement: str, parameters: Mapping[str, object] | None = None) -> None:
        """Run one statement for its effect."""
        try:
            self.connection.execute(statement, dict(parameters) if parameters else None)
        except duckdb.Error as error:
            raise write_error(self.path, error) from error

    def rows(self, query: str, parameters: Mapping[str, object] | None = None) -> list[Any]:
        """Return the rows of a query as tuples."""
        try:
            return self.connection.execute(query, dict(parameters) if parameters else None).fetchall()
        except duckdb.Error as error:
            raise AttnRulesError(f"query failed: {_first_line(error)}") from error

    def value(self, query: str, parameters: Mapping[str, object] | None = None) -> Any:
        """Return the first column of the first row, None where there is no row."""
        rows = self.rows(query, parameters)
        return rows[0][0] if rows else None

    def table(self, name: str) -> TableHandle:
        """Return a handle on the table or view `name`: `.lazy()`, `.pl()`."""
        return TableHandle(self, name)

    def append(self, table: str, rows: pa.Table) -> int:
        """Append an Arrow table to `table`, matching columns by name; return the number of rows.

        Columns of `table` that `rows` lacks must be nullable and become NULL.
        """
        try:
            target = self.connection.table(table)
            incoming = self.connection.from_arrow(rows)
            columns = [
                duckdb.ColumnExpression(c).cast(t).alias(c)
                if c in rows.column_names
                else duckdb.ConstantExpression(None).cast(t).alias(c)
                for c, t in zip(target.columns, target.types, strict=True)
            ]
            incoming.select(*columns).insert_into(table)
        except duckdb.Error as error:
            raise write_error(self.path, error) from error
        return int(rows.num_rows)

    def extend_chunk(self, additions: Mapping[str, object]) -> None:
        """Add row counts to the ledger row of a stored chunk, and set the heads it holds."""
        self.execute(sql.ledger_statement("extend_chunk"), additions)

    def replace_descriptions(self, layer: int, rows: pa.Table) -> None:
        """Store imported descriptions of a layer, in place of the same sources' earlier ones.

        `rows` are rows of `feature_descriptions`. `input_features.description` follows. One transaction.
        """
        sources = sorted(set(rows.column("source").to_pylist()))
        with self.transaction():
            self.execute(sql.ledger_statement("forget_descriptions"), {"layer": layer, "sources": sources})
            self.append("feature_descriptions", rows)
            self.execute(sql.best_descriptions_statement())
            digests.restamp(self, "feature_descriptions", "imported", layer=layer)
            digests.restamp(self, "input_features", layer=layer)

    def stamp_mined(self, layer: int, head: int, features: Sequence[int]) -> None:
        """Write digests of all that was mined of these features, in the transaction that mined them."""
        digests.restamp_features(self, layer, head, features)

    def outdate_derived(self) -> None:
        """Mark counts, descriptions and kept attention mass as not yet computed from the facts."""
        self.execute(sql.ledger_statement("outdate_derived"))
        digests.restamp(self, "heads", "derived")

    def forget_output_features(self, layer: int, head: int) -> None:
        """Delete a head's output SAE, its features and activations, and everything mined about them."""
        for statement in sql.forget_statements():
            self.execute(statement, {"layer": layer, "head": head})
        digests.restamp(self, "chunks")

    def reader(self) -> Warehouse:
        """Return a second connection to the same open file, for another thread; it must only read."""
        return Warehouse(self.connection.cursor(), self.path)

    @contextmanager
    def writing_beside_cpu(self) -> Iterator[None]:
        """Leave most cores to other work during the block, which writes while it computes."""
        self.execute(f"SET threads = {max(1, (os.cpu_count() or 1) // 4)}")
        try:
            yield
        finally:
            with suppress(duckdb.Error):
                self.connection.execute("RESET threads")

    def limit_memory(self, size: str | None = None) -> None:
        """Let DuckDB hold `size`, such as 8GB, before it spills; by default half of the machine's memory.

        What it may hold otherwise, 80%, leaves too little to the process around it.
        """
        default = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 2} bytes"
        self.execute("SET memory_limit = $size", {"size": size or default})

    def interrupt(self) -> None:
        """End the statement that another thread is running; it fails, and its transaction is undone."""
        with suppress(duckdb.Error):
            self.connection.interrupt()

    def refresh_derived(self) -> None:
        """Recompute counts, descriptions and kept attention mass from the facts, in one transaction."""
        with self.transaction():
            for statement in sql.derived_statements():
                self.connection.execute(statement)
            digests.restamp(self, "input_features")
            digests.restamp(self, "output_features", "derived")
            digests.restamp(self, "heads", "derived")
            digests.restamp(self, "feature_descriptions", "tokens")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything in the block, or nothing of it."""
        try:
            self.connection.execute("BEGIN TRANSACTION")
            try:
                yield
            except BaseException:
                # After a full disk or a fatal error there may be nothing left to roll back.
                with suppress(duckdb.Error):
                    self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")
        except duckdb.Error as error:
            raise write_error(self.path, error) from error

    @contextmanager
    def run(
        self, command: str, arguments: Mapping[str, object], environment: Mapping[str, object] | None = None
    ) -> Iterator[int]:
        """Record a run in `runs` around the block and yield its run_id.

        `environment` adds to what is recorded of where it computes, such as the device. The row says
        `running` until the block ends, so a killed run can be told from a finished one.
        """
        run_id = int(self.value("SELECT coalesce(max(run_id), 0) + 1 FROM runs"))
        self._write_run(
            "begin_run",
            {
                "run_id": run_id,
                "command": command,
                "arguments": json.dumps(arguments, sort_keys=True, default=str),
                "versions": json.dumps({name: _version_of(name) for name in _LIBRARIES}),
                "environment": json.dumps({**_environment(), **(environment or {})}),
            },
        )
        status = "failed"
        try:
            yield run_id
            status = "done"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            # The failure that ended the block is the one to report, not a second one from here.
            with suppress(AttnRulesError) if status != "done" else _no_context():
                self._write_run("end_run", {"status": status, "run_id": run_id})

    def _write_run(self, statement: str, row: Mapping[str, Any]) -> None:
        with self.transaction():
            self.execute(sql.ledger_statement(statement), row)
            digests.restamp(self, "runs", run_id=row["run_id"])


class TableHandle:
    """A table or view of a warehouse, as polars frames."""

    def __init__(self, warehouse: Warehouse, name: str) -> None:
        known = {row[0] for row in warehouse.rows("SELECT table_name FROM information_schema.tables")}
        if name not in known:
            raise AttnRulesError(f"no table or view named {name!r}; there are {', '.join(sorted(known))}")
        self._warehouse = warehouse
        self._name = name

    def lazy(self) -> pl.LazyFrame:
        """Return a polars LazyFrame whose filters and column choices run inside DuckDB."""
        frame: pl.LazyFrame = self._warehouse.connection.table(self._name).pl(lazy=True)
        return frame

    def pl(self) -> pl.DataFrame:
        """Return the whole table as a polars DataFrame."""
        frame: pl.DataFrame = self._warehouse.connection.table(self._name).pl()
        return frame


@contextmanager
def _no_context() -> Iterator[None]:
    yield


def write_error(path: Path, error: duckdb.Error) -> AttnRulesError:
    """Return what to tell a user about a failure of DuckDB to write `path`."""
    message = _first_line(error)
    if "No space left" in message or "could not write" in message.lower():
        return AttnRulesError(
            f"{path}: the disk is full ({message}); free some space and run the same command again,"
            " what was committed is intact"
        )
    if "read-only" in message:
        return AttnRulesError(f"{path}: opened read-only, cannot be written")
    return AttnRulesError(f"{path}: {message}")


def _first_line(error: duckdb.Error) -> str:
    return str(error).strip().splitlines()[0]


def _environment() -> dict[str, object]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.system(),
        "machine": platform.machine(),
    }


def _version_of(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        from attnrules import __version__

        return __version__ if library == "attnrules" else None
