"""What a database file defines, compared with what `sql/` defines.

A file may come from a stranger. A view in place of a table, or a macro with the name of a function, would
run its maker's SQL inside the queries of attnrules. So this is asked first, in queries that nothing in a file
can shadow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from attnrules import sql
from attnrules.errors import WarehouseUnavailableError
from attnrules.warehouse.digests import IN_FILES

# Stands for the identity of a file and for the width of its heads while definitions are compared.
_ANY_IDENTITY, _ANY_WIDTH = "0" * 32, 1
# Schemas whose names DuckDB gives a meaning; an object of another schema is reached only by its full name.
_RESERVED_SCHEMAS = {"information_schema", "pg_catalog", "system", "temp"}
_NOUNS = {"table": "a table", "view": "a view", "macro": "a macro", "type": "a type"}


@dataclass(frozen=True)
class Catalogue:
    """What one database file defines.

    Arguments:
        definitions: (kind, name) to definition, of all tables, views, macros and types of the schema main.
        schemas: the schemas beside main.
        triggers: the triggers.
        identity: of the warehouse, None in a file that names none.
        d_head: the width of its heads, None in a file that has no vectors.
    """

    definitions: dict[tuple[str, str], str]
    schemas: frozenset[str]
    triggers: frozenset[str]
    identity: str | None
    d_head: int | None

    def own(self) -> list[tuple[str, str]]:
        """Return the objects, as (kind, name), that are no part of an attnrules warehouse."""
        return sorted(self.definitions.keys() - _reference().definitions.keys())


def read(connection: duckdb.DuckDBPyConnection) -> Catalogue:
    """Return what the one file that is open in `connection` defines."""

    def ask(name: str) -> list[Any]:
        return connection.execute(sql.catalogue_query(name).text).fetchall()

    tables = ask("tables")
    identity = next((_identity(comment) for _, name, _, comment in tables if name == "schema_version"), None)
    found: dict[tuple[str, str], list[str]] = {}
    for kind, rows in (
        ("table", [row[:3] for row in tables]),
        ("view", ask("views")),
        ("macro", ask("macros")),
        ("type", ask("types")),
    ):
        for schema, name, *definition in rows:
            if schema == "main":
                found.setdefault((kind, name.lower()), []).append(_canonical(definition, identity))
    return Catalogue(
        {at: "\n".join(sorted(definitions)) for at, definitions in found.items()},
        frozenset(row[0].lower() for row in ask("schemas")),
        frozenset(row[0] for row in ask("triggers")),
        identity,
        next((_width(definition) for _, name, definition, _ in tables if name == "projections"), None),
    )


def verify(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    *,
    current: int = sql.SCHEMA_VERSION,
    views: Callable[[duckdb.DuckDBPyConnection], Iterator[str]] | None = None,
) -> Catalogue:
    """Return the catalogue of the warehouse that is open, after comparing it with `sql/`.

    Tables and views of the user's own with names of their own are let be. In a lake fact tables are views;
    `views` yields what is wrong with them. Raises `WarehouseUnavailableError` when the file is no warehouse,
    is of another schema version than `current`, defines something of ours otherwise, or gives another
    meaning to a name of DuckDB's.
    """
    catalogue = read(connection)
    if ("view", "schema_version") not in catalogue.definitions and (
        ("table", "schema_version") not in catalogue.definitions
    ):
        raise WarehouseUnavailableError(f"{path}: a DuckDB database, but not an attnrules warehouse")
    refuse(path, shadows(catalogue))
    _refuse_other_version(connection, path, current)
    if views is not None:
        refuse(path, views(connection))
        catalogue = of_lake(catalogue)
    refuse(path, differences(catalogue))
    return catalogue


def refuse(path: Path, problems: Iterator[str]) -> None:
    """Raise `WarehouseUnavailableError` that names the first of `problems`, if there is any."""
    found = sorted(problems)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise WarehouseUnavailableError(
            f"{path}: {found[0]}{more}; nothing of it was run. Drop or rename it in the duckdb shell if it is"
            f" yours; `attnrules upgrade {path}` keeps the tables and writes the rest anew"
        )


def shadows(catalogue: Catalogue) -> Iterator[str]:
    """Yield, in words, what would run in place of DuckDB's own functions or beside a statement of ours."""
    if ("view", "schema_version") in catalogue.definitions:
        yield "schema_version is a view, not the table of an attnrules warehouse"
    reference = _reference()
    for kind, name in catalogue.definitions.keys() & reference.built_in:
        if (kind, name) not in reference.definitions:
            yield f"{_NOUNS[kind]} named {name} hides DuckDB's own and is not part of an attnrules warehouse"
    for name in catalogue.schemas & _RESERVED_SCHEMAS:
        yield f"a schema named {name} hides DuckDB's own and is not part of an attnrules warehouse"
    for name in catalogue.triggers:
        yield f"a trigger named {name} is not part of an attnrules warehouse"


def differences(catalogue: Catalogue) -> Iterator[str]:
    """Yield, in words, how a catalogue defines what `sql/` defines otherwise."""
    names = {name: kind for kind, name in catalogue.definitions if kind != "macro"}
    if catalogue.identity is None:
        yield "the comment of the table schema_version does not name the warehouse"
    for (kind, name), definition in _reference().definitions.items():
        found = catalogue.definitions.get((kind, name))
        if found is None and kind != "macro" and name in names:
            yield f"{name} is {_NOUNS[names[name]]}, not the {kind} of an attnrules warehouse"
        elif found is None:
            yield f"the {kind} {name} of an attnrules warehouse is missing"
        elif found != definition:
            yield f"the {kind} {name} is not defined as in an attnrules warehouse of this version"


def columns_of(table: str) -> dict[str, str]:
    """Return the columns of a table of a warehouse, name to type, in their order."""
    return _reference().columns[table]


def of_lake(catalogue: Catalogue) -> Catalogue:
    """Return a catalogue with tables in place of its views of files, which were found to be right."""
    definitions = {
        at: text for at, text in catalogue.definitions.items() if at[0] != "view" or at[1] not in IN_FILES
    }
    reference = _reference().definitions
    tables = {("table", name): reference["table", name] for name in IN_FILES}
    return replace(catalogue, definitions={**definitions, **tables})


def schema_version(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Return the schema version of a file whose `schema_version` is known to be a table."""
    rows = connection.execute("SELECT version FROM main.schema_version").fetchall()
    return rows[0][0] if rows else None


def _refuse_other_version(connection: duckdb.DuckDBPyConnection, path: Path, current: int) -> None:
    try:
        found = schema_version(connection)
    except duckdb.Error as error:
        raise WarehouseUnavailableError(
            f"{path}: a DuckDB database, but not an attnrules warehouse"
        ) from error
    if found is None:
        raise WarehouseUnavailableError(f"{path}: a DuckDB database, but not an attnrules warehouse")
    if found != current:
        remedy = "upgrade attnrules to read it" if found > current else f"run `attnrules upgrade {path}`"
        raise WarehouseUnavailableError(
            f"{path}: has schema version {found}, this attnrules reads {current}; {remedy}"
        )


def _identity(comment: str | None) -> str | None:
    match = re.search(r"\b([0-9a-f]{32})$", comment or "")
    return match[1] if match else None


def _width(definition: str) -> int | None:
    match = re.search(r"FLOAT\[(\d+)\]", definition)
    return int(match[1]) if match else None


def _canonical(definition: list[Any], identity: str | None) -> str:
    text = "\n".join(map(str, definition))
    if identity is not None:
        text = text.replace(identity, _ANY_IDENTITY)
    text = re.sub(r"FLOAT\[\d+\]", f"FLOAT[{_ANY_WIDTH}]", text)
    # DuckDB 1.x stores the constants TRUE and FALSE as casts, and its file may be opened by a later one.
    return text.replace("CAST('t' AS BOOLEAN)", "true").replace("CAST('f' AS BOOLEAN)", "false")


@dataclass(frozen=True)
class _Reference:
    """What an empty warehouse defines, and the (kind, name)s of DuckDB's own, by the DuckDB that runs.

    `columns` are those of each table, name to type.
    """

    definitions: dict[tuple[str, str], str]
    columns: dict[str, dict[str, str]]
    built_in: frozenset[tuple[str, str]]


@cache
def _reference() -> _Reference:
    statements = [*sql.table_statements(_ANY_WIDTH, _ANY_IDENTITY), *sql.view_statements(_ANY_IDENTITY)]
    # Comments are no part of a definition, and take most of the time.
    texts = "\n".join(statement.text for statement in statements)
    definitions = re.sub(r"(?m)^COMMENT ON .*\n", "", texts + "\n")
    with duckdb.connect(config={"threads": 1, "enable_external_access": False}) as connection:
        built_in = connection.execute(sql.catalogue_query("built_in_names").text).fetchall()
        connection.execute(definitions)
        columns: dict[str, dict[str, str]] = {}
        for table, column, kind in connection.execute(sql.catalogue_query("columns").text).fetchall():
            columns.setdefault(table, {})[column] = kind
        return _Reference(
            read(connection).definitions, columns, frozenset((kind, name.lower()) for kind, name in built_in)
        )
