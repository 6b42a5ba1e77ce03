"""Which SQL `attnrules query` runs: one statement, and one that reads.

The connection itself is locked and read-only; this says so before anything runs, and holds where files are
allowed too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import duckdb

from attnrules.errors import AttnRulesError
from attnrules.warehouse.faults import explained

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

_READING_PRAGMAS = {
    *("collations", "database_list", "database_size", "functions", "metadata_info", "platform", "show"),
    *("show_databases", "show_tables", "show_tables_expanded", "storage_info", "table_info", "user_agent"),
    "version",
}
# A MULTI statement is several made of one, as PIVOT is, or a writing one around such.
_READING_WORDS = {"from", "pivot", "select", "summarize", "with", "describe", "desc", "show", "values", "("}
_WRITING_WORDS = {
    *(
        "alter",
        "analyze",
        "attach",
        "call",
        "checkpoint",
        "copy",
        "create",
        "delete",
        "detach",
        "drop",
        "export",
    ),
    *(
        "import",
        "insert",
        "install",
        "load",
        "merge",
        "pragma",
        "replace",
        "set",
        "truncate",
        "update",
        "use",
    ),
    *("vacuum", "execute", "prepare", "deallocate", "begin", "commit", "rollback", "reset"),
}


def check_reads(warehouse: Warehouse, sql: str) -> None:
    """Raise `AttnRulesError` unless `sql` is one statement that only reads."""
    kind = check_single(warehouse, sql)
    words = _words(sql)
    refused = None if _reads(kind, words) else words[0]
    refused = refused or next(_written_in_with(words), None)
    if refused:
        raise AttnRulesError(
            f"{refused.upper()} is refused: `attnrules query` is read-only and runs SELECT, FROM, WITH,"
            " DESCRIBE, SHOW, SUMMARIZE, EXPLAIN and PRAGMAs that read; the duckdb shell runs the rest"
        )


def check_single(warehouse: Warehouse, sql: str) -> str:
    """Return which kind of statement `sql` is, such as SELECT; raises `AttnRulesError` unless it is one."""
    with explained(warehouse.path), warehouse.session() as connection:
        statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise AttnRulesError(f"{len(statements) or 'no'} statements in that SQL; ask one at a time")
    return str(statements[0].type.name)


def _words(sql: str) -> list[str]:
    """Return the tokens of `sql` in lower case, without comments."""
    data, tokens = sql.encode(), duckdb.tokenize(sql)
    ends = [*(start for start, _ in tokens[1:]), len(data)]
    return [
        data[start:end].decode(errors="replace").strip().lower()
        for (start, kind), end in zip(tokens, ends, strict=True)
        if kind != duckdb.token_type.comment
    ]


def _reads(kind: str, words: list[str]) -> bool:
    if kind == "PRAGMA":
        return words[0] == "pragma" and words[1] in _READING_PRAGMAS
    if kind == "MULTI":
        return words[0] in _READING_WORDS
    return kind == "SELECT" or (kind == "EXPLAIN" and _explained(words) in _READING_WORDS)


def _explained(words: list[str]) -> str:
    """Return the first word of the statement that an EXPLAIN is about."""
    rest = words[1:]
    if rest[0] == "(" and rest[1] not in _READING_WORDS:
        rest = rest[rest.index(")") + 1 :]
    return rest[1] if rest[0] == "analyze" else rest[0]


def _written_in_with(words: list[str]) -> Iterator[str]:
    """Yield the first words of common table expressions that write, which DuckDB counts as SELECT."""
    for before, opening, word in zip(words, words[1:], words[2:], strict=False):
        if before in ("as", "materialized") and opening == "(" and word in _WRITING_WORDS:
            yield word
