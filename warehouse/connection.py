"""How a warehouse file is opened: the settings of every connection, and what is said when it cannot be.

A file may come from a stranger: nothing that it holds may read or write another file, reach the network
or load code, so every connection is opened with the configuration locked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import duckdb

from attnrules.errors import WarehouseUnavailableError
from attnrules.warehouse.faults import gist

_Settings = dict[str, str | bool | int | float | list[str]]

# DuckDB takes a nested loop for an ASOF join whose left side it estimates as small, and estimates badly.
_PLANS: _Settings = {"asof_loop_join_threshold": 0}
# Of what the process may have, a container's or a job's share where it is in one. DuckDB's own 80% leaves too
# little to what stands around it: a model, numpy, another process.
_MEMORY: _Settings = {"memory_limit": "50%"}
NO_DOWNLOADS: _Settings = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
# Adjusted while a command that writes runs.
_TUNABLE = ["threads", "memory_limit"]


def connect(
    path: Path,
    *,
    writable: bool,
    allow_files: bool = False,
    storage_version: str | None = None,
    folders: Sequence[Path] = (),
) -> duckdb.DuckDBPyConnection:
    """Open the database file `path` with the settings of every connection.

    With `allow_files` SQL may read and write other files and change settings; otherwise neither, but for
    files of `folders`, those of a lake. A file that does not exist is made for DuckDB `storage_version`
    and later. Raises `WarehouseUnavailableError` when it cannot be opened.
    """
    locked = {} if allow_files else _locked(writable)
    settings: _Settings = {**_PLANS, **_MEMORY, **NO_DOWNLOADS, **({} if folders else locked)}
    if folders and locked:
        # Differs from what `allow_files` opens with, so that DuckDB does not hand out the same connection.
        settings["allowed_configs"] = locked["allowed_configs"]
    if storage_version is not None:
        settings["storage_compatibility_version"] = storage_version
    try:
        # An absolute path, for DuckDB reads more than paths from a name: `:memory:`, `md:`, `s3://`.
        connection = duckdb.connect(str(path.absolute()), read_only=not writable, config=settings)
        if folders and locked:
            _lock(connection, locked, folders)
        return connection
    except (duckdb.Error, RuntimeError, MemoryError, ValueError) as error:
        raise _open_error(path, error, writable=writable) from error


def processors() -> int:
    """Return how many processors this process may use: in a container or a job fewer than the machine has."""
    with closing(duckdb.connect()) as connection:
        # DuckDB knows limits of containers and of SLURM, and not which processors a process is bound to.
        (found,) = connection.execute("SELECT current_setting('threads')").fetchall()[0]
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else found
    return int(min(found, bound))


def connect_beside(old: Path, new: Path, folders: Sequence[Path] = ()) -> duckdb.DuckDBPyConnection:
    """Open two database files in one connection: `old`, to read, and `new`, to write, under these names.

    Files of `folders` may be read and written. The settings are those of every connection. Raises
    `WarehouseUnavailableError` when one cannot be opened.
    """
    connection = duckdb.connect(config={**_PLANS, **_MEMORY, **NO_DOWNLOADS})
    try:
        connection.execute("ATTACH $path AS old (READ_ONLY)", {"path": str(old.absolute())})
        connection.execute("ATTACH $path AS new", {"path": str(new.absolute())})
        _lock(connection, _locked(writable=True), folders)
    except duckdb.Error as error:
        connection.close()
        raise _open_error(old, error, writable=False) from error
    return connection


def _locked(writable: bool) -> _Settings:
    return {
        "enable_external_access": False,
        "allowed_configs": _TUNABLE if writable else [],
        "lock_configuration": True,
    }


def _lock(connection: duckdb.DuckDBPyConnection, locked: _Settings, folders: Sequence[Path]) -> None:
    """Make these settings after files of `folders` were allowed, which no setting at the opening can do."""
    # This process may have the file open already: DuckDB then hands out its own, settings and all.
    if connection.execute("SELECT current_setting('lock_configuration')").fetchall() == [(True,)]:
        return
    for name, setting in {"allowed_directories": [str(f) for f in folders], **locked}.items():
        connection.execute(f"SET {name} = $setting", {"setting": setting})


def _open_error(path: Path, error: Exception, *, writable: bool) -> WarehouseUnavailableError:
    # The path is part of most messages and may hold any word.
    message = gist(error).replace(str(path.absolute()), str(path))
    if message.startswith("IO Error: Could not set lock on file"):
        holder = re.search(r"\(PID (\d+)\)", message)
        who = f"by process {holder[1]}" if holder else "by another process"
        return WarehouseUnavailableError(
            f"{path}: in use {who}; wait for it to end or stop it, then run this again"
        )
    if isinstance(error, duckdb.ConnectionException) and "existing connections" in message:
        return WarehouseUnavailableError(
            f"{path}: this process has it open in another way (to read or to write, with or without"
            " allow_files, or by duckdb.connect); close that handle first"
        )
    if "not a valid DuckDB database file" in message:
        return WarehouseUnavailableError(f"{path}: not a DuckDB database; name another file")
    access = "written" if writable else "read"
    return WarehouseUnavailableError(f"{path}: cannot be {access}: {message}")
