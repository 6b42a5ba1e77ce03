"""What the warehouse is: one `.sql` file per table, view, macro, derived
column set and integrity check.

This room holds definitions only. Files are read as package data; nothing here runs SQL. A definition
cannot have parameters; the placeholders that it may hold are `$d_head`, the width of a head, and
`$warehouse`, the identity of one file, by which its macros know whether they read their own tables.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from uuid import uuid4

from attnrules.sql.statements import Statement, Statements

__all__ = [
    "SCHEMA_VERSION",
    "STORAGE_VERSION",
    "WHOLE_LAYER",
    "Statement",
    "Statements",
    "best_descriptions_statement",
    "catalogue_query",
    "checks",
    "clear_roles_statement",
    "derived_statements",
    "forget_statement",
    "forget_statements",
    "head_name",
    "ledger_statement",
    "new_identity",
    "not_known",
    "table_columns",
    "table_names",
    "table_statements",
    "upgrade_statements",
    "view_statements",
]

SCHEMA_VERSION = 5

# In a column `head`: the output SAE over the whole layer. Not NULL, which does not join.
WHOLE_LAYER = -1

# The oldest DuckDB that opens a warehouse, its long-term release. A file keeps what it was made with.
STORAGE_VERSION = "v1.4.0"

ledger_statement = Statements(__name__, "ledger")
"""Returns a statement that keeps the ledgers `runs`, `chunks` and `digests`."""

catalogue_query = Statements(__name__, "catalogue")
"""Returns a query that lists what a database file defines: its tables, views, macros, ..."""

_derived = Statements(__name__, "derived")


def new_identity() -> str:
    """Return an identity for a new warehouse: 32 hexadecimal digits."""
    return uuid4().hex


def head_name(layer: int, head: int) -> str:
    """Return how the head of an output SAE is written: L0H3, or L0 for the one over the whole layer."""
    return f"L{layer}" if head == WHOLE_LAYER else f"L{layer}H{head}"


def table_statements(d_head: int, identity: str) -> list[Statement]:
    """Return the statements that create every table, for heads of width `d_head`."""
    places = {"$d_head": str(int(d_head)), "$warehouse": _checked(identity)}
    return [_filled(statement, places) for statement in Statements(__name__, "tables").all()]


def view_statements(identity: str) -> list[Statement]:
    """Return the statements that create every view and macro; macros come last, they read views."""
    places = {"$warehouse": _checked(identity)}
    kinds = ("views", "macros")
    return [_filled(s, places) for kind in kinds for s in Statements(__name__, kind).all()]


def _checked(identity: str) -> str:
    if re.fullmatch("[0-9a-f]{32}", identity) is None:
        raise ValueError(f"not an identity of a warehouse: {identity!r}")
    return identity


def _filled(statement: Statement, places: dict[str, str]) -> Statement:
    text = statement.text
    for place, value in places.items():
        text = text.replace(place, value)
    return replace(statement, text=text)


def table_names() -> list[str]:
    """Return the names of the tables, one per file of `tables/`."""
    return [statement.name.removeprefix("tables/") for statement in Statements(__name__, "tables").all()]


@cache
def table_columns(table: str) -> tuple[str, ...]:
    """Return the columns of a table in their order, as its definition lists them."""
    text = Statements(__name__, "tables")(table).text
    return tuple(re.findall(r"(?m)^    (\w+) ", text.partition("\n);")[0].partition("(\n")[2]))


def derived_statements() -> list[Statement]:
    """Return the statements that recompute every derived column of $layer from the facts."""
    return _derived.all()


def best_descriptions_statement() -> Statement:
    """Return the statement that gives every input feature of $layer the best description there is."""
    return _derived("stored_descriptions_3_pick")


def clear_roles_statement() -> Statement:
    """Return the statement that forgets what heads of $layer attend to, of all layers where that is NULL."""
    return _derived("head_roles_1_clear")


def forget_statement(table: str) -> Statement:
    """Return the statement that deletes the rows of `table` of $layer, $head."""
    return Statements(__name__, "forget")(table)


def forget_statements() -> list[Statement]:
    """Return the statements that delete all that depends on the output SAE of $layer, $head."""
    return Statements(__name__, "forget").all()


def upgrade_statements() -> dict[str, Statement]:
    """Return, by table, the statements that fill a table of `new` from the warehouse `old` of before.

    A table that is not named here takes the columns that the old one has of it, and NULL for the others.
    """
    return {s.name.removeprefix("upgrade/"): s for s in Statements(__name__, "upgrade").all()}


def not_known() -> list[Statement]:
    """Return the queries that say, one line of words a row, what a warehouse of an earlier version lacks."""
    return Statements(__name__, "not_known").all()


def checks() -> dict[str, Statement]:
    """Return the integrity checks, name to query; each query returns one row per violation."""
    return {check.name.removeprefix("checks/"): check for check in Statements(__name__, "checks").all()}
