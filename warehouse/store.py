"""One warehouse file: opening, creating, bulk loading, transactions, the ledger of runs."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from attnrules import sql
from attnrules.errors import AttnRulesError, WarehouseUnavailableError, closest
from attnrules.sql.methods import METHODS
from attnrules.warehouse import catalogue, digests, files
from attnrules.warehouse.asked import Asked, Query
from attnrules.warehouse.connection import connect, processors
from attnrules.warehouse.handle import Connection, Handle
from attnrules.warehouse.objects import Address
from attnrules.warehouse.relation import Recipe, Relation, TableHandle

if TYPE_CHECKING:
    import pyarrow as pa

    from attnrules.warehouse.lake import Lake

_LIBRARIES = (
    *("attnrules", "duckdb", "numpy", "polars", "pyarrow", "torch", "transformers", "transformer_lens"),
    *("tokenizers", "sae-lens", "safetensors", "datasets", "huggingface_hub"),
)


class Warehouse:
    """One opened warehouse, a file or a lake; use it as a context manager or call `close`."""

    # What `sql` returns; the Python API has one that a notebook can show.
    _relations: type[Relation] = Relation

    def __init__(
        self, connection: Connection, path: Path, *, watched: bool = False, lake: Lake | None = None
    ) -> None:
        self.path = path
        self._lake = lake
        self._handle = Handle(connection, path, watched=watched)

    @classmethod
    def open(cls, path: Path, *, writable: bool = False, allow_files: bool = False) -> Self:
        """Open an existing warehouse, read-only unless `writable`.

        SQL reaches nothing outside the file and changes no setting, unless `allow_files`. Any number of
        threads may use it. Raises `WarehouseUnavailableError` when the file is missing, locked by another
        process, opened in another way by this one, no file, not a DuckDB database, not a warehouse, or of
        another schema version. A lake on S3 is read in the folder that it is fetched to (`mirror`).
        """
        if not writable and (address := Address.read(path)):
            from attnrules.warehouse.mirror import mirror_of

            path = mirror_of(address)
        database = files.database_of(path)
        lake = None if database == path else _lake_at(path)
        folders = () if lake is None else lake.allowed
        connection = connect(database, writable=writable, allow_files=allow_files, folders=folders)
        warehouse = cls(connection, path, watched=writable, lake=lake)
        try:
            with warehouse.session() as connection:
                views = None if lake is None else lake.faults
                warehouse._handle.run(connection, lambda: catalogue.verify(connection, path, views=views))
                is_moved = lake is not None and lake.was_moved(connection)
                if lake is not None and is_moved and writable:
                    warehouse._handle.run(connection, partial(lake.follow_move, connection), writing=True)
        except BaseException:
            warehouse.close()
            raise
        if is_moved and not writable:
            warehouse.close()
            _follow_move(cls, path)
            return cls.open(path, allow_files=allow_files)
        return warehouse

    @staticmethod
    def is_there(path: Path) -> bool:
        """Tell whether there is anything at `path`; an empty folder, which may become a lake, is nothing."""
        files.refuse_remote(path)
        return files.is_there(path)

    @staticmethod
    def remove(path: Path) -> None:
        """Remove the warehouse at `path`, which nobody has open; of a lake the folder stays, empty."""
        if files.is_lake(path):
            for folder in _lake_at(path).folders:
                shutil.rmtree(folder, ignore_errors=True)
            path = path / files.CATALOGUE
        path.unlink(missing_ok=True)

    @classmethod
    def create(cls, path: Path, *, d_head: int, lake: bool = False) -> Self:
        """Create a warehouse for heads of width `d_head` at `path`, which must not exist; or a `lake`.

        A failure leaves no file behind, and a kill at most a hidden one of another name. A lake may be made
        in a folder that exists, where it is empty. Raises `WarehouseUnavailableError` when the place cannot
        be written.
        """
        facts = _lake_at(path) if lake else None
        if lake:
            files.make_folder(path)
        files.refuse_no_place(path / files.CATALOGUE if lake else path)
        identity = sql.new_identity()
        with files.made_whole(path / files.CATALOGUE if lake else path) as unfinished:
            connection = connect(unfinished, writable=True, storage_version=sql.STORAGE_VERSION)
            with cls(connection, path) as warehouse, warehouse.transaction():
                for statement in sql.table_statements(d_head, identity):
                    warehouse.execute(statement)
                if facts is not None:
                    with warehouse.session() as connection:
                        facts.create_views(connection)
                for statement in sql.view_statements(identity):
                    warehouse.execute(statement)
                stamp = {"version": sql.SCHEMA_VERSION, "created_by": _version_of("attnrules")}
                warehouse.execute(sql.ledger_statement("stamp_version"), stamp)
                warehouse._insert_methods()
                digests.stamp(warehouse)
        return cls.open(path, writable=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.close()
        if kind is None:
            self._handle.refuse_moved()

    def close(self) -> None:
        """Close the file, which is then free for other processes; nothing can be fetched after that."""
        self._handle.close()

    def sql(self, query: Query, parameters: Mapping[str, object] | None = None) -> Any:
        """Run `query` and return a `Relation` (`.pl()`, `.to_arrow_table()`, `.df()`), None without a result.

        `parameters` fill the `$name` places of the query. Raises `AttnRulesError` with DuckDB's message when
        the query fails, now or when it is fetched.
        """
        asked = Asked(query, parameters)
        return self._relation(lambda c: c.sql(asked.text, params=_filled(parameters)), asked)

    def execute(self, statement: Query, parameters: Mapping[str, object] | None = None) -> int:
        """Run one statement for its effect; return how many rows it changed or made, 0 where it does not say.

        A temporary table lasts as long as the `session` or `transaction` that it is made in.
        """
        with self._handle.connection() as connection:
            asked = Asked(statement, parameters)
            work = partial(_changed, connection, asked.text, _filled(parameters))
            return self._handle.run(connection, work, asked, writing=True) or 0

    def rows(self, query: Query, parameters: Mapping[str, object] | None = None) -> list[Any]:
        """Return the rows of a query as tuples."""
        asked = Asked(query, parameters)
        with self._handle.connection() as connection:
            return self._handle.run(
                connection, lambda: connection.execute(asked.text, _filled(parameters)).fetchall(), asked
            )

    def columns(self, query: Query, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return the columns of a query as numpy arrays, those that hold NULL as masked ones."""
        asked = Asked(query, parameters)
        with self._handle.connection() as connection:
            return self._handle.run(
                connection, lambda: connection.execute(asked.text, _filled(parameters)).fetchnumpy(), asked
            )

    def value(self, query: Query, parameters: Mapping[str, object] | None = None) -> Any:
        """Return the first column of the first row, None where there is no row."""
        rows = self.rows(query, parameters)
        return rows[0][0] if rows else None

    def relation(self, name: str) -> Relation:
        """Return the table or view `name` as a `Relation`; raises `AttnRulesError` where there is none."""
        # Every file has the tables of `sql/`: only another name is looked up, which takes ten times as long.
        if name not in sql.table_names():
            known = {row[0] for row in self.rows("SELECT table_name FROM information_schema.tables")}
            if name not in known:
                known_names = ", ".join(sorted(known))
                raise AttnRulesError(
                    f"no table or view named {name!r}{closest(name, known)}; there are {known_names}"
                )
        relation: Relation = self._relation(lambda c: c.table(name))
        return relation

    def _relation(self, recipe: Recipe, asked: Asked | None = None) -> Any:
        kept = self._handle.session_connection
        connection = kept or self._handle.cursor()

        def build() -> tuple[Any, bool]:
            repeatable = kept is None and (asked is None or _only_selects(asked.text))
            return recipe(connection), repeatable

        with asked.named_in_errors() if asked else nullcontext():
            inner, repeatable = self._handle.run(connection, build)
        if inner is None:
            return None
        return self._relations(self._handle, connection, inner, recipe if repeatable else None, asked=asked)

    def table(self, name: str) -> TableHandle:
        """Return a handle on the table or view `name`: `.lazy()`, `.pl()`."""
        return TableHandle(self.relation(name))

    def append(self, table: str, rows: pa.Table) -> int:
        """Append an Arrow table to `table`, matching columns by name; return the number of rows.

        Columns of `table` that `rows` lacks must be nullable and become NULL.
        """
        with self._handle.connection() as connection:
            if self._lake is not None and table in digests.IN_FILES:
                work = partial(self._lake.append, connection, table, rows)
            else:
                work = partial(_insert, connection, table, rows)
            self._handle.run(connection, work, writing=True)
        return int(rows.num_rows)

    def adopt(self, table: str, captured: Sequence[Path]) -> None:
        """Take files that `Lake.write_rows` wrote below another folder into the lake's own table of facts.

        Call it in a transaction. Their names stay, so that a file which an earlier try took is found again.
        Raises `AttnRulesError` where one is missing, and for a warehouse that is no lake.
        """
        lake = self._need_lake()
        with self._handle.connection() as connection:
            work = partial(lake.adopt, connection, table, captured)
            self._handle.run(connection, work, writing=True)

    @contextmanager
    def replacing(self, table: str, layer: int, head: int, features: Sequence[int]) -> Iterator[None]:
        """Let the block write all rows of these features to a table of results; call it in a transaction.

        The block first deletes those that are there. In a lake the table is files: there the block finds an
        empty temporary table in its place, whose rows become the rows of these features at the end.
        """
        lake = self._lake
        if lake is None:
            yield
            return
        with self.session() as connection:
            self.execute(f"CREATE TEMPORARY TABLE {table} AS FROM main.{table} LIMIT 0")
            yield

            def store() -> None:
                given, place = f"temp.{table}", (layer, head)
                is_any = connection.execute(f"SELECT true FROM {given} LIMIT 1").fetchall()
                written = [lake.write(connection, table, place, given)] if is_any else []
                connection.execute(f"DROP TABLE {given}").fetchall()
                lake.replace_features(connection, table, place, features, written)

            self._handle.run(connection, store, writing=True)

    def fill(self, table: str, source: str) -> None:
        """Add the rows of `source`, what stands in a FROM, to a table that this lake keeps in files."""
        lake = self._need_lake()
        with self._handle.connection() as connection:
            self._handle.run(connection, partial(lake.fill, connection, table, source), writing=True)

    def files_of(self, table: str, layer: int, head: int) -> list[Path]:
        """Return the files that a lake keeps the rows of a layer and head in, none for a file."""
        if self._lake is None:
            return []
        with self._handle.connection() as connection:
            return self._lake.of_place(connection, table, (layer, head))

    def adopt_results(self, table: str, layer: int, head: int, found: Sequence[Path]) -> None:
        """Let the results of a layer and head be those of files, which `Lake.take` moves here.

        Call it in a transaction. Raises `AttnRulesError` where a file is missing, and for a warehouse that
        is no lake.
        """
        lake = self._need_lake()
        with self._handle.connection() as connection:
            work = partial(lake.adopt_place, connection, table, (layer, head), found)
            self._handle.run(connection, work, writing=True)

    def _need_lake(self) -> Lake:
        if self._lake is None:
            raise AttnRulesError(f"{self.path}: is a file, not a lake")
        return self._lake

    def extend_chunk(self, additions: Mapping[str, object]) -> None:
        """Add row counts to the ledger row of a stored chunk, and set the heads it holds."""
        self.execute(sql.ledger_statement("extend_chunk"), additions)

    def add_contributions(self, rows: pa.Table) -> None:
        """Add what heads brought to features of SAEs over whole layers, in the transaction of their chunk.

        `rows`: layer, feature, through_head and units, whole multiples of 2^-24; they may repeat a feature.
        """
        self.execute(sql.ledger_statement("make_added_contributions"))
        self.append("added_contributions", rows)
        self.execute(sql.ledger_statement("add_contributions"))
        for layer in sorted(set(rows.column("layer").to_pylist())):
            digests.restamp(self, "feature_heads", "derived", layer=layer, head=sql.WHOLE_LAYER)

    def replace_descriptions(self, layer: int, rows: pa.Table) -> None:
        """Store imported descriptions of a layer, in place of the same sources' earlier ones.

        `rows` are rows of `feature_descriptions`. `input_features.description` follows. One transaction.
        """
        sources = sorted(set(rows.column("source").to_pylist()))
        with self.transaction():
            self.execute(sql.ledger_statement("forget_descriptions"), {"layer": layer, "sources": sources})
            self.append("feature_descriptions", rows)
            self.execute(sql.best_descriptions_statement(), {"layer": layer})
            digests.restamp(self, "feature_descriptions", "imported", layer=layer)
            digests.restamp(self, "input_features", layer=layer)

    def add_methods(self) -> None:
        """Store what `sql.methods` says of methods that this file does not know yet."""
        known = {method for (method,) in self.rows("SELECT method FROM methods")}
        if not known.issuperset(METHODS):
            with self.transaction():
                self._insert_methods()
                digests.restamp(self, "methods")

    def _insert_methods(self) -> None:
        rows = METHODS.values()
        self.execute(
            sql.ledger_statement("insert_methods"),
            {
                "methods": [method.name for method in rows],
                "kinds": [method.kind for method in rows],
                "meanings": [method.meaning for method in rows],
                "match_scores": [method.match_score for method in rows],
                "shared_ranks": [method.shares_rank for method in rows],
            },
        )

    def stamp_mined(self, layer: int, head: int, features: Sequence[int]) -> None:
        """Write digests of all that was mined of these features, in the transaction that mined them."""
        digests.restamp_features(self, layer, head, features)

    def stamp(self, table: str) -> None:
        """Write digests of all of a table, in the transaction that wrote its rows."""
        digests.restamp(self, table)

    def outdate_derived(self) -> None:
        """Mark counts, descriptions, kept attention mass and roles as not yet computed from the facts."""
        self.execute(sql.ledger_statement("outdate_derived"))
        self.execute(sql.clear_roles_statement(), {"layer": None})
        digests.restamp(self, "heads", "derived")
        digests.restamp(self, "head_roles")

    def forget_output_features(self, layer: int, head: int) -> None:
        """Delete a head's output SAE, its features and activations, and everything mined about them."""
        for statement in sql.forget_statements():
            table = statement.name.removeprefix("forget/")
            if self._lake is not None and table in digests.IN_FILES:
                with self._handle.connection() as connection:
                    self._lake.forget(connection, table, (layer, head))
            else:
                self.execute(statement, {"layer": layer, "head": head})
        digests.restamp(self, "chunks")

    @contextmanager
    def writing_beside_cpu(self) -> Iterator[None]:
        """Leave most cores to other work during the block, which writes while it computes."""
        self.execute("SET threads = $n", {"n": max(1, processors() // 4)})
        try:
            yield
        finally:
            with suppress(AttnRulesError):
                self.execute("RESET threads")

    def limit_memory(self, size: str) -> None:
        """Let DuckDB hold `size` before it spills, such as 8GB or 25% of what the process may have.

        Every connection begins with 50%.
        """
        self.execute("SET memory_limit = $size", {"size": size})

    @property
    def n_bytes(self) -> int:
        """The size of the file, or of the catalogue of a lake and all files that it lists."""
        if self._lake is None:
            return self.path.stat().st_size
        with self._handle.connection() as connection:
            return self._lake.n_bytes(connection)

    def compact(self) -> tuple[int, int]:
        """Merge the files of a lake that hold the same layer and head; return how many were before and are.

        Files that killed commands left are removed; no other process may write to the lake meanwhile. Raises
        `AttnRulesError` for a warehouse that is no lake.
        """
        lake = self._lake
        if lake is None:
            raise AttnRulesError(f"{self.path}: is a file, not a lake; there is nothing to compact")
        files.refuse_tasks(self.path)
        with self.session() as connection:
            before = lake.n_files(connection)
            with self.transaction():
                self._handle.run(connection, partial(lake.compact, connection), writing=True)
            for stray in lake.strays(connection):
                if stray.is_dir():
                    shutil.rmtree(stray, ignore_errors=True)
                else:
                    stray.unlink(missing_ok=True)
            return before, lake.n_files(connection)

    def interrupt(self) -> None:
        """End the statements that other threads are running; they fail, and their transactions are undone."""
        self._handle.interrupt()

    def is_outdated(self) -> bool:
        """Tell whether anything that `refresh_derived` computes was marked by `outdate_derived` since."""
        return bool(self.rows("SELECT true FROM heads WHERE kept_attention_mass IS NULL LIMIT 1"))

    def layers(self) -> list[int]:
        """Return the layers that are held."""
        return [layer for (layer,) in self.rows("SELECT DISTINCT layer FROM heads ORDER BY layer")]

    def refresh_derived(self) -> None:
        """Recompute counts, descriptions, attention and roles of heads from the facts, in one transaction."""
        with self.transaction():
            for layer in self.layers():
                self.refresh_layer(layer)

    def refresh_layer(self, layer: int) -> None:
        """Do what `refresh_derived` does for one layer, which depends on no other one; in a transaction."""
        for statement in sql.derived_statements():
            self.execute(statement, {"layer": layer})
        for table, part in digests.DERIVED.items():
            digests.restamp(self, table, part, layer=layer)
        heads = "SELECT DISTINCT head FROM output_features WHERE layer = $layer ORDER BY head"
        for (head,) in self.rows(heads, {"layer": layer}):
            self.renew_right_sides(layer, head)

    def replace_of_head(self, table: str, layer: int, head: int, rows: pa.Table) -> None:
        """Store rows of a table written by the head in place of the head's earlier ones, in a transaction."""
        self.execute(sql.forget_statement(table), {"layer": layer, "head": head})
        self.append(table, rows)
        digests.restamp(self, table, layer=layer, head=head)

    def renew_right_sides(self, layer: int, head: int) -> None:
        """Compute anew how rules write the right side of a head's features; call it in a transaction.

        Whenever what the view `output_words` reads of the head has changed.
        """
        at = {"layer": layer, "head": head}
        self.execute(sql.forget_statement("rule_right_sides"), at)
        self.execute(sql.ledger_statement("fill_right_sides"), at)
        digests.restamp(self, "rule_right_sides", layer=layer, head=head)

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """Let the calling thread keep one DuckDB connection, which is yielded, during the block.

        Temporary tables made in it last until its end; other threads do not see them.
        """
        with self._handle.session() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything that the calling thread does in the block, or nothing of it; a `session` too.

        Raises `AttnRulesError`, and commits nothing, when the file was removed, renamed or replaced.
        """
        with self.session():
            self.execute("BEGIN TRANSACTION")
            try:
                yield
                self._handle.refuse_moved()
                self.execute("COMMIT")
            except BaseException:
                # After a full disk or a fatal error there may be nothing left to roll back.
                with suppress(AttnRulesError):
                    self.execute("ROLLBACK")
                if self._lake is not None:
                    self._lake.undone()
                raise
            if self._lake is not None:
                self._lake.committed()

    @contextmanager
    def run(
        self,
        command: str,
        arguments: Mapping[str, object],
        environment: Mapping[str, object] | None = None,
        *,
        again: int | None = None,
        goes_on: bool = False,
    ) -> Iterator[int]:
        """Record a run in `runs` around the block and yield its run_id, that of an earlier one to do `again`.

        One that `goes_on` is left as running when the block ends well, for a later block to do `again`.

        `environment` adds to what is recorded of where it computes, such as the device. The row says
        `running` until the block ends, so a killed run can be told from a finished one.
        """
        run_id = self.next_run_id() if again is None else again
        began = {
            "run_id": run_id,
            "command": command,
            "arguments": json.dumps(arguments, sort_keys=True, default=str),
            "versions": json.dumps({name: _version_of(name) for name in _LIBRARIES}),
            "environment": json.dumps({**_environment(), **(environment or {})}),
        }
        if again is None:
            self._write_run("begin_run", began)
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
                if not (goes_on and status == "done"):
                    self._write_run("end_run", {"status": status, "run_id": run_id})

    def next_run_id(self) -> int:
        """Return the run_id that the next run will have."""
        return int(self.value("SELECT coalesce(max(run_id), 0) + 1 FROM runs"))

    def _write_run(self, statement: str, row: Mapping[str, Any]) -> None:
        with self.transaction():
            self.execute(sql.ledger_statement(statement), row)
            digests.restamp(self, "runs", run_id=row["run_id"])


def _lake_at(path: Path) -> Lake:
    # A single file needs none of it.
    from attnrules.warehouse.lake import Lake

    return Lake.at(path)


def _follow_move(kind: type[Warehouse], path: Path) -> None:
    try:
        kind.open(path, writable=True).close()
    except AttnRulesError as error:
        raise WarehouseUnavailableError(
            f"{path}: was moved or copied, and its catalogue cannot be told so ({error}); open it once where"
            " it can be written"
        ) from error


@contextmanager
def _no_context() -> Iterator[None]:
    yield


def _filled(parameters: Mapping[str, object] | None) -> dict[str, object] | None:
    return dict(parameters) if parameters else None


def _changed(connection: Connection, text: str, parameters: dict[str, object] | None) -> int | None:
    """Run one statement and return how many rows it changed or made, None where it does not say."""
    rows = connection.execute(text, parameters).fetchall()
    return rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 and isinstance(rows[0][0], int) else None


def _only_selects(query: str) -> bool:
    """Tell whether running `query` again does nothing but answer again."""
    return [statement.type for statement in duckdb.extract_statements(query)] == [duckdb.StatementType.SELECT]


def _insert(connection: Connection, table: str, rows: pa.Table) -> None:
    target = connection.table(table)
    columns = [
        duckdb.ColumnExpression(c).cast(t).alias(c)
        if c in rows.column_names
        else duckdb.ConstantExpression(None).cast(t).alias(c)
        for c, t in zip(target.columns, target.types, strict=True)
    ]
    connection.from_arrow(rows).select(*columns).insert_into(table)


def _environment() -> dict[str, object]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.system(),
        "machine": platform.machine(),
    }


@cache
def _version_of(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        from attnrules import __version__

        return __version__ if library == "attnrules" else None
