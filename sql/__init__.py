"""What the warehouse is: one `.sql` file per table, view, macro, derived
column set and integrity check.

This room holds definitions only. Files are read as package data; nothing here runs SQL. A definition
cannot have parameters; the placeholders that it may hold are `$d_head`, the width of a head, and
`$warehouse`, the identity of one file, by which its macros know whether they read their own tables.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from uuid import uuid4

SCHEMA_VERSION = 3

# The oldest DuckDB that opens a warehouse, its long-term release. A file keeps what it was made with.
STORAGE_VERSION = "v1.4.0"


def _sql_files(kind: str) -> list[Traversable]:
    folder = files(__name__) / kind
    return sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)


def new_identity() -> str:
    """Return an identity for a new warehouse: 32 hexadecimal digits."""
    return uuid4().hex


def table_statements(d_head: int, identity: str) -> list[str]:
    """Return the statements that create every table, for heads of width `d_head`."""
    return [_filled(f, identity).replace("$d_head", str(int(d_head))) for f in _sql_files("tables")]


def view_statements(identity: str) -> list[str]:
    """Return the statements that create every view and macro; macros come last, they read views."""
    return [_filled(f, identity) for kind in ("views", "macros") for f in _sql_files(kind)]


def _filled(file: Traversable, identity: str) -> str:
    if re.fullmatch("[0-9a-f]{32}", identity) is None:
        raise ValueError(f"not an identity of a warehouse: {identity!r}")
    return file.read_text("utf-8").replace("$warehouse", identity)


def table_names() -> list[str]:
    """Return the names of the tables, one per file of `tables/`."""
    return [f.name.removesuffix(".sql") for f in _sql_files("tables")]


def derived_statements() -> list[str]:
    """Return the statements that recompute every derived column from the facts."""
    return [f.read_text("utf-8") for f in _sql_files("derived")]


def best_descriptions_statement() -> str:
    """Return the statement that gives every input feature the best description there is."""
    return (files(__name__) / "derived" / "stored_descriptions_3_pick.sql").read_text("utf-8")


def forget_statements() -> list[str]:
    """Return the statements that delete all that depends on the output SAE of $layer, $head."""
    return [f.read_text("utf-8") for f in _sql_files("forget")]


def ledger_statement(name: str) -> str:
    """Return a statement that keeps the ledgers `runs` and `chunks`."""
    return (files(__name__) / "ledger" / f"{name}.sql").read_text("utf-8")


def catalogue_query(name: str) -> str:
    """Return a query that lists what a database file defines: its tables, views, macros, ..."""
    return (files(__name__) / "catalogue" / f"{name}.sql").read_text("utf-8")


def checks() -> dict[str, str]:
    """Return the integrity checks, name to query; each query returns one row per violation."""
    return {f.name.removesuffix(".sql"): f.read_text("utf-8") for f in _sql_files("checks")}
