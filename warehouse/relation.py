"""Results that are not fetched yet: a DuckDB relation that threads, Ctrl-C and errors cannot hurt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import duckdb

from attnrules.warehouse.asked import Asked
from attnrules.warehouse.faults import explained
from attnrules.warehouse.handle import Connection, Handle

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

# Builds a relation on a connection.
Recipe = Callable[[Connection], Any]

_BATCH_ROWS = 122_880


class Relation:
    """A DuckDB relation, with all its methods and properties: `.pl()`, `.df()`, `.fetchall()`, `.filter()`.

    It keeps a connection to itself. Whatever cannot be done raises `AttnRulesError`, and Ctrl-C ends a
    fetch at once.
    """

    def __init__(
        self,
        handle: Handle,
        connection: Connection,
        inner: duckdb.DuckDBPyRelation,
        recipe: Recipe | None,
        lock: AbstractContextManager[Any] | None = None,
        asked: Asked | None = None,
    ) -> None:
        self._handle = handle
        self._connection = connection
        self._inner = inner
        # None where running the text twice would do something twice, or temporary tables are read.
        self._recipe = recipe
        self._lock = lock or threading.RLock()
        self._asked = asked

    def pl(self, *arguments: Any, lazy: bool = False, **options: Any) -> Any:
        """Return the rows as a polars DataFrame, or a LazyFrame that filters and chooses inside DuckDB."""
        if not lazy:
            return self._call("pl", *arguments, **options)
        columns = self.columns
        if self._recipe is None or len({name.casefold() for name in columns}) < len(columns):
            return self._call("pl").lazy()
        from duckdb.polars_io import duckdb_source

        schema = self.limit(0).pl().schema
        # Only what the scan asks of a relation; it reads on connections of its own.
        scan: Any = _Scan(self._handle, self._recipe, columns, self.types)
        return duckdb_source(scan, schema)

    def batches(self, n_rows: int = _BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the rows as Arrow record batches of at most `n_rows`, without holding all of them."""
        asked, taken, started = self._asked, 0, time.perf_counter()
        with self._lock, asked.named_in_errors() if asked else nullcontext():
            reader = self._handle.run(self._connection, partial(self._inner.to_arrow_reader, n_rows))
            try:
                while (batch := self._handle.run(self._connection, lambda: next(reader, None))) is not None:
                    yield batch
                    taken += batch.num_rows
            finally:
                reader.close()
                if asked:
                    asked.log(taken, time.perf_counter() - started)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and not name.startswith(("__arrow", "_repr_")):
            raise AttributeError(name)
        with self._lock:
            found = self._handle.run(self._connection, lambda: getattr(self._inner, name))
        if isinstance(found, duckdb.DuckDBPyRelation):
            return self._derived(found, lambda relation, _: getattr(relation, name))
        return partial(self._call, name) if callable(found) else found

    def __len__(self) -> int:
        return int(self._call("__len__"))

    def __contains__(self, name: object) -> bool:
        return bool(self._call("__contains__", name))

    def __getitem__(self, name: str) -> Any:
        return self._call("__getitem__", name)

    def __repr__(self) -> str:
        return str(self._call("__repr__"))

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        def step(relation: Any, connection: Connection) -> Any:
            given = [_on(connection, argument) for argument in arguments]
            return getattr(relation, name)(*given, **options)

        with self._lock:
            work = partial(step, self._inner, self._connection)
            result = self._handle.run(self._connection, work, self._asked)
        return self._derived(result, step) if isinstance(result, duckdb.DuckDBPyRelation) else result

    def _derived(self, inner: Any, step: Callable[[Any, Connection], Any]) -> Self:
        recipe = self._recipe
        repeated = None if recipe is None else lambda connection: step(recipe(connection), connection)
        return type(self)(self._handle, self._connection, inner, repeated, self._lock, self._asked)


def _on(connection: Connection, argument: Any) -> Any:
    """Return an argument of a relation's method such that it can be used on `connection`."""
    if not isinstance(argument, Relation):
        return argument
    if argument._recipe is None or argument._connection is connection:
        return argument._inner
    return argument._recipe(connection)


class _Scan:
    """A relation as DuckDB's polars plugin reads it, which reads on a new connection every time.

    Polars reads several frames of one plan, and one frame several times, at once.
    """

    def __init__(self, handle: Handle, recipe: Recipe, columns: list[str], types: list[Any]) -> None:
        self._handle = handle
        self._recipe = recipe
        self.columns = columns
        self.types = types

    def project(self, columns: str) -> _Scan:
        return self._then(lambda relation: relation.project(columns))

    def limit(self, n_rows: int) -> _Scan:
        return self._then(lambda relation: relation.limit(n_rows))

    def filter(self, condition: Any) -> _Scan:
        return self._then(lambda relation: relation.filter(condition))

    def to_arrow_reader(self, n_rows: int = _BATCH_ROWS) -> _Reader:
        connection = self._handle.cursor()
        with explained(self._handle.path):
            return _Reader(self._handle, connection, self._recipe(connection).to_arrow_reader(n_rows))

    def _then(self, step: Callable[[Any], Any]) -> _Scan:
        recipe = self._recipe
        return _Scan(self._handle, lambda connection: step(recipe(connection)), self.columns, self.types)


class _Reader:
    """The batches of one scan, and the connection that they come from."""

    def __init__(self, handle: Handle, connection: Connection, batches: Any) -> None:
        self._handle = handle
        self._connection = connection
        self._batches = batches

    def read_next_batch(self) -> Any:
        with explained(self._handle.path):
            return self._batches.read_next_batch()

    def close(self) -> None:
        self._batches.close()
        self._connection.close()


class TableHandle:
    """A table or view of a warehouse, as polars frames."""

    def __init__(self, relation: Relation) -> None:
        self._relation = relation

    def lazy(self) -> pl.LazyFrame:
        """Return a polars LazyFrame whose filters and column choices run inside DuckDB.

        It reads what is committed when it is collected; any number of them can be joined.
        """
        frame: pl.LazyFrame = self._relation.pl(lazy=True)
        return frame

    def pl(self) -> pl.DataFrame:
        """Return the whole table as a polars DataFrame."""
        frame: pl.DataFrame = self._relation.pl()
        return frame
