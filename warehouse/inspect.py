"""What is inside a warehouse, and whether it holds together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa

from attnrules import sql
from attnrules.errors import AttnRulesError
from attnrules.warehouse import digests
from attnrules.warehouse.asked import Query
from attnrules.warehouse.store import Warehouse


@dataclass(frozen=True)
class WarehouseInfo:
    """What `attnrules info` shows; `rows` maps table to row count, sizes are bytes.

    Arguments:
        model: the row of `model`, None before an ingest has begun.
        corpus: the row of `corpus`.
        corpus_files: the rows of `corpus_files`, in the order of reading.
        saes: the rows of `saes`, input SAEs first.
        heads: (layer, head) pairs with their kept attention mass.
        n_sequences: sequences stored.
        rules: one row per (method, scaling): features and rules.
        runs: one row per run, oldest first.
        file_bytes: size of the file, of all files of a lake.
    """

    model: dict[str, Any] | None
    corpus: dict[str, Any] | None
    corpus_files: list[dict[str, Any]]
    saes: list[dict[str, Any]]
    heads: list[dict[str, Any]]
    n_sequences: int
    rows: dict[str, int]
    rules: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    file_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one integrity check: how many violations, and the first of them in words."""

    name: str
    n_problems: int
    first_problem: str | None


def info(warehouse: Warehouse) -> WarehouseInfo:
    """Return what is inside `warehouse`."""
    model = dictionaries(warehouse, "FROM model")
    corpus = dictionaries(warehouse, "FROM corpus")
    return WarehouseInfo(
        model=model[0] if model else None,
        corpus=corpus[0] if corpus else None,
        corpus_files=dictionaries(warehouse, "FROM corpus_files ORDER BY file_id"),
        saes=dictionaries(warehouse, "FROM saes ORDER BY role, layer, head"),
        heads=dictionaries(
            warehouse,
            "SELECT layer, head, kept_attention_mass, kept_attention_mass_from_features FROM heads"
            " ORDER BY layer, head",
        ),
        n_sequences=int(warehouse.value("SELECT coalesce(sum(n_seqs), 0) FROM chunks")),
        rows={name: len(warehouse.relation(name)) for name in sql.table_names()},
        rules=dictionaries(warehouse, sql.ledger_statement("mined_lists")),
        runs=dictionaries(warehouse, "SELECT run_id, command, status, started_at FROM runs ORDER BY run_id"),
        file_bytes=warehouse.n_bytes,
    )


def n_mined_features(warehouse: Warehouse) -> int:
    """Return of how many features something was mined."""
    return int(warehouse.value(sql.ledger_statement("count_mined_features")))


def check(warehouse: Warehouse, *, quick: bool = False) -> list[CheckResult]:
    """Run every integrity check and return one result per check.

    Those of `sql/checks` say whether the tables agree with each other. Unless `quick`, every row is read
    and compared with what was written, a check named `contents of <table>` for each table. What cannot be
    read is a problem of its check; the others are run all the same.
    """
    named: dict[str, Callable[[], tuple[int, str | None]]] = {
        name: partial(_violations, warehouse, query) for name, query in sql.checks().items()
    }
    if not quick:
        for table in digests.tables():
            named[f"contents of {table}"] = partial(_counted, digests.problems, warehouse, table)
        named["contents of digests"] = partial(_counted, digests.strays, warehouse)
    return [_result(name, found) for name, found in named.items()]


def damage(warehouse: Warehouse) -> str | None:
    """Return the first problem of a table that is not as it was written, None where all are.

    Facts but tokens, and values behind predictions, are left out: reading them may take minutes.
    """
    for table in digests.tables():
        if table == "tokens" or table not in digests.IN_FILES:
            found = _result(table, partial(_counted, digests.problems, warehouse, table))
            if found.n_problems:
                return f"table {table}: {found.first_problem}"
    return None


def _result(name: str, problems: Callable[[], tuple[int, str | None]]) -> CheckResult:
    try:
        return CheckResult(name, *problems())
    except (duckdb.Error, pa.ArrowException, OSError, AttnRulesError, TypeError) as error:
        return CheckResult(name, 1, f"cannot be read: {str(error).strip().splitlines()[0]}")


def _violations(warehouse: Warehouse, query: Query) -> tuple[int, str | None]:
    ((n_problems, first),) = warehouse.sql(query).aggregate("count(*), min(problem)").fetchall()
    return n_problems, first


def _counted(problems: Callable[..., list[str]], *of: object) -> tuple[int, str | None]:
    found = problems(*of)
    return len(found), found[0] if found else None


def dictionaries(
    warehouse: Warehouse, query: Query, parameters: Mapping[str, object] | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a query, each as column to value."""
    return as_dictionaries(warehouse.sql(query, parameters))


def as_dictionaries(relation: Any) -> list[dict[str, Any]]:
    """Return the rows of a relation, each as column to value."""
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
