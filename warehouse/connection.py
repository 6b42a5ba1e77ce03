"""How a warehouse file is opened: the settings of every connection, and what is said when it cannot be.

A file may come from a stranger: nothing that it holds may read or write another file, reach the network
or load code, so every connection is opened with the configuration locked.
"""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from attnrules.errors import WarehouseUnavailableError

_Settings = dict[str, str | bool | int | float | list[str]]

# DuckDB takes a nested loop for an ASOF join whose left side it estimates as small, and estimates badly.
_PLANS: _Settings = {"asof_loop_join_threshold": 0}
NO_DOWNLOADS: _Settings = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
# Adjusted while a command that writes runs.
_TUNABLE = ["threads", "memory_limit"]


def connect(
    path: Path, *, writable: bool, allow_files: bool = False, storage_version: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open the database file `path` with the settings of every connection.

    With `allow_files` SQL may read and write other files and change settings; otherwise neither. A file
    that does not exist is made for DuckDB `storage_version` and later. Raises `WarehouseUnavailableError`
    when it cannot be opened.
    """
    settings: _Settings = {**_PLANS, **NO_DOWNLOADS, **({} if allow_files else _locked(writable))}
    if storage_version is not None:
        settings["storage_compatibility_version"] = storage_version
    try:
        return duckdb.connect(str(path), read_only=not writable, config=settings)
    except duckdb.Error as error:
        raise _open_error(path, str(error), writable=writable) from error


def _locked(writable: bool) -> _Settings:
    return {
        "enable_external_access": False,
        "allowed_configs": _TUNABLE if writable else [],
        "lock_configuration": True,
    }


def _open_error(path: Path, message: str, *, writable: bool) -> WarehouseUnavailableError:
    holder = re.search(r"PID (\d+)", message)
    if holder or "lock" in message:
        who = f"by process {holder[1]}" if holder else "by another process"
        return WarehouseUnavailableError(
            f"{path}: in use {who}; wait for it to end or stop it, then run this again"
        )
    if "not a valid DuckDB" in message:
        return WarehouseUnavailableError(f"{path}: not a DuckDB database; name another file")
    if path.is_dir():
        return WarehouseUnavailableError(f"{path}: is a folder; name a .duckdb file")
    access = "written" if writable else "read"
    return WarehouseUnavailableError(f"{path}: cannot be {access}: {message.splitlines()[0]}")
