"""One opened warehouse file in one process: it hands out connections and runs what is asked of them.

A DuckDB connection serves one call at a time. Every call therefore gets a connection of its own, so that
threads do not meet, except inside a `session`, where one thread keeps one: transactions and temporary
tables belong to a connection.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeVar

import duckdb

from attnrules.errors import AttnRulesError
from attnrules.warehouse import files
from attnrules.warehouse.asked import Asked
from attnrules.warehouse.faults import explained
from attnrules.warehouse.interruptible import interruptible

Connection = duckdb.DuckDBPyConnection
Result = TypeVar("Result")


class Handle:
    """What a `Warehouse` and its relations share.

    Arguments:
        root: the connection whose end is the end of every other one.
        path: the file.
        watched: whether `refuse_moved` tells when the path no longer leads to the file.
    """

    def __init__(self, root: Connection, path: Path, *, watched: bool) -> None:
        self.path = path
        self._watched = watched
        self._root = root
        self._closed = False
        self._pid = os.getpid()
        self._sessions = threading.local()
        self._running: list[Connection] = []
        self._identity = files.identity(path)

    def cursor(self) -> Connection:
        """Return a connection of its own; raises `AttnRulesError` after `close` and after a fork."""
        if self._pid != os.getpid():
            raise AttnRulesError(
                f"{self.path}: was opened before this process was forked; open it again in this process"
            )
        if self._closed:
            raise AttnRulesError(f"{self.path}: this handle was closed; open the warehouse again")
        with explained(self.path):
            return self._root.cursor()

    @property
    def session_connection(self) -> Connection | None:
        """The connection that the calling thread keeps, None outside a session."""
        connection: Connection | None = getattr(self._sessions, "connection", None)
        return connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield the connection of the session, or a fresh one for the block."""
        kept = self.session_connection
        if kept is not None:
            yield kept
            return
        fresh = self.cursor()
        try:
            yield fresh
        finally:
            fresh.close()

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """Let the calling thread keep one connection during the block."""
        with self.connection() as connection:
            before = self.session_connection
            self._sessions.connection = connection
            try:
                yield connection
            finally:
                self._sessions.connection = before

    def run(
        self,
        connection: Connection,
        work: Callable[[], Result],
        asked: Asked | None = None,
        *,
        writing: bool = False,
    ) -> Result:
        """Return what `work` returns, which keeps `connection` busy; Ctrl-C and `interrupt` end it.

        The log tells of `asked`, what the work is. Raises `AttnRulesError` for what DuckDB cannot do.
        """
        started = time.perf_counter()
        self._running.append(connection)
        try:
            with asked.named_in_errors() if asked else nullcontext(), explained(self.path, writing=writing):
                result = interruptible(work, connection.interrupt)
        finally:
            self._running.remove(connection)
        if asked is not None and not isinstance(result, duckdb.DuckDBPyRelation):
            asked.log(result, time.perf_counter() - started)
        return result

    def interrupt(self) -> None:
        """End whatever statements are running; they fail, and their transactions are undone."""
        for connection in list(self._running):
            with suppress(duckdb.Error):
                connection.interrupt()

    def refuse_moved(self) -> None:
        """Raise `AttnRulesError` when the path no longer leads to the file that was opened."""
        if self._watched and files.identity(self.path) != self._identity:
            raise AttnRulesError(
                f"{self.path}: was removed, renamed or replaced while it was written; what this run wrote is"
                " not in a file of this name, run the same command again with nobody else touching it"
            )

    def close(self) -> None:
        """Close every connection; the file is then free for other processes."""
        self._closed = True
        if self._pid == os.getpid():
            with suppress(duckdb.Error):
                self._root.close()
        else:
            # DuckDB's threads stayed in the parent: its end must not be run here, not even at exit.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._root))
