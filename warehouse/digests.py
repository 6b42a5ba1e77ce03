"""What every part of a warehouse held when it was written, so that `attnrules check` finds whatever changed.

The rows of a table that are written together are a part: facts of a chunk and head, weights of a head, what
was mined of a feature, a row of a ledger. `digests` keeps of each the number of rows and the sum of their
hashes modulo 2^64, written in the transaction of the rows themselves. Nothing is recomputed from rows that a
command did not write: damage is not blessed by whoever comes next, and what is written anew is whole again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from attnrules import sql
from attnrules.warehouse.arrow import arrow_table, numpy_column
from attnrules.warehouse.rowhash import Bits, plain, row_hashes

if TYPE_CHECKING:
    from attnrules.warehouse.store import Warehouse

Ints = npt.NDArray[np.int64]
# (chunk_id, run_id, layer, head, feature), None for what rows do not belong to.
Scope = tuple[int | None, ...]
# Rows and sum of hashes.
Content = tuple[int, int]

FACTS = frozenset(("tokens", "input_activations", "output_activations", "attention_sources", "token_scales"))
# Results that are as large as facts, 11,000 rows a feature, and are written a head at a time.
RESULTS = frozenset(("rule_scores",))
# What a lake keeps in files.
IN_FILES = FACTS | RESULTS
_SCOPE = ("chunk_id", "run_id", "layer", "head", "feature")
_LEDGERS: dict[str, tuple[str, ...]] = {"chunks": ("chunk_id",), "runs": ("run_id",)}
# Tables written by the head or layer, though their rows are of features.
_WRITTEN_BY_HEAD = FACTS | {
    *("projections", "output_features", "feature_heads", "input_features", "feature_descriptions"),
    *("output_effects", "output_tokens", "output_corpus_tokens", "rule_right_sides"),
}
# What comes from the facts, summed at ingest or computed by refresh_derived, in tables that hold weights too.
_DERIVED = {
    "feature_heads": ("total_contribution", "mean_contribution", "data_share"),
    "heads": ("kept_attention_mass", "kept_attention_mass_from_features"),
    "output_features": (
        "n_sequences", "n_tokens", "mean_activation", "mean_max_activation", "max_activation", "description",
    ),
}  # fmt: skip
# Tables that `Warehouse.refresh_layer` writes besides the right sides of rules; with the name of the part
# that is written, where it is not all of them.
DERIVED = {
    **dict.fromkeys(("input_features", "head_roles", "output_corpus_tokens"), ""),
    **dict.fromkeys(_DERIVED, "derived"),
    "feature_descriptions": "tokens",
}
# Columns that tell the rows of a scope apart.
_WITHIN_SCOPE = ("through_head",)
# In place of NULL in what rows are told apart by; no chunk, run, layer, head or feature has this number.
_NONE = -(1 << 31)
_KINDS = ("imported", "tokens", "embedding")
_BATCH_ROWS = 1 << 16
# More runs of equal keys than this are sorted before they are gone through.
_MANY_RUNS = 512
_MODULUS = 1 << 64


@dataclass(frozen=True)
class Part:
    """Columns of a table, and of which rows, that are digested together.

    Arguments:
        by: columns of `_SCOPE` that tell rows apart, each combination having a digest of its own.
        columns: what is hashed. kind: of `feature_descriptions`, the rows of one kind.
    """

    table: str
    name: str
    by: tuple[str, ...]
    columns: tuple[str, ...]
    kind: str | None = None


class Chunks:
    """Which chunk a sequence belongs to.

    Arguments:
        ranges: (chunk_id, first_seq, n_seqs) of each chunk.
    """

    def __init__(self, ranges: Iterable[tuple[int, int, int]]) -> None:
        rows = np.array(sorted(ranges, key=lambda row: row[1]), np.int64).reshape(-1, 3)
        self._ids, self._first, n = rows.T
        self._end = self._first + n

    @classmethod
    def stored(cls, warehouse: Warehouse) -> Chunks:
        """Return the chunks of the ledger."""
        return cls(warehouse.rows("SELECT chunk_id, first_seq, n_seqs FROM chunks"))

    def of(self, seq_id: Ints) -> Ints:
        """Return the chunk of each sequence, `_NONE` for none."""
        if not len(self._ids):
            return np.full(len(seq_id), _NONE)
        at = np.searchsorted(self._first, seq_id, "right") - 1
        return np.where((at >= 0) & (seq_id < self._end[at]), self._ids[at], _NONE)


def stamp(warehouse: Warehouse) -> None:
    """Write the digests of everything that is stored, in place of all there are; call it in a transaction."""
    _forget(warehouse, sql.table_names(), {})
    chunks = Chunks.stored(warehouse)
    # Most tables of a new file are empty.
    for table in filter(partial(_has_rows, warehouse), tables()):
        for part in parts(warehouse, table):
            content = contents(_batches(warehouse, part), part, chunks if table in FACTS else None)
            _append(warehouse, part, content)


def stamp_new(warehouse: Warehouse) -> None:
    """Write digests of weights and of what is stored once, where there is none; call it in a transaction."""
    for table in filter(partial(_has_rows, warehouse), tables()):
        for part in parts(warehouse, table):
            if table in FACTS or table in _LEDGERS or "feature" in part.by:
                continue
            known = _stored(warehouse, part)
            if known:
                _append(warehouse, part, _of_scopes(warehouse, part, _scopes(warehouse, part) - known.keys()))
            else:
                _append(warehouse, part, contents(_batches(warehouse, part), part))


def _of_scopes(warehouse: Warehouse, part: Part, scopes: Iterable[Scope]) -> dict[Scope, Content]:
    """Return what the rows of these scopes hold, without reading those of others."""
    found: dict[Scope, Content] = {}
    for scope in scopes:
        of_scope = dict(zip(_SCOPE, scope, strict=True))
        found |= contents(_batches(warehouse, part, {name: of_scope[name] for name in part.by}), part)
    return found


def restamp(warehouse: Warehouse, table: str, name: str = "", **at: int) -> None:
    """Write anew the digests of a table's parts of that name, of all where it is empty.

    `at` limits it to a chunk_id, run_id, layer or head. Call it in the transaction that wrote the rows.
    """
    _forget(warehouse, [table], at, name=name)
    for part in parts(warehouse, table):
        if name in ("", part.name):
            _append(warehouse, part, contents(_batches(warehouse, part, at), part))


def restamp_features(warehouse: Warehouse, layer: int, head: int, features: Sequence[int]) -> None:
    """Write anew the digests of all that was mined of these features; call it in the rows' transaction."""
    if not features:
        return
    mined = _mined_parts()
    at = {"layer": layer, "head": head}
    _forget(warehouse, [part.table for part in mined], at, features=features)
    where = {**at, "feature": list(features)}
    # Most have no rows: to ask this of all at once takes a third of the time that reading them does.
    filled = set(warehouse.rows(" UNION ALL ".join(_any_row(part, where) for part in mined), where))
    written = [
        _rows(part, found)
        for part in mined
        if (part.table,) in filled and (found := contents(_batches(warehouse, part, where), part))
    ]
    if written:
        warehouse.append("digests", pa.concat_tables(written))


def mined_tables() -> list[str]:
    """Return the tables with what was mined of output features."""
    return [part.table for part in _mined_parts()]


def of_facts(table: str, rows: pa.Table, chunk_id: int, first_seq: int, n_seqs: int) -> pa.Table:
    """Return rows of `digests` for the rows of a fact table that a chunk is about to store."""
    part = _part(table, "rows", rows.column_names)
    batches = rows.to_batches(max_chunksize=_BATCH_ROWS)
    return _rows(part, contents(batches, part, Chunks([(chunk_id, first_seq, n_seqs)])))


def of_added(table: str, rows: pa.Table) -> pa.Table:
    """Return rows of `digests` for rows that are added to a table in the same transaction.

    Digests of one scope add up, so that those of the rows before stay as they are.
    """
    part = _part(table, "rows", rows.column_names)
    return _rows(part, contents(rows.to_batches(max_chunksize=_BATCH_ROWS), part))


def problems(warehouse: Warehouse, table: str) -> list[str]:
    """Read every row of `table` and say in what it differs from what was written."""
    if not _has_rows(warehouse, table) and not _is_digested(warehouse, table):
        return []
    chunks = Chunks.stored(warehouse) if table in FACTS else None
    found = []
    for part in parts(warehouse, table):
        expected = _stored(warehouse, part)
        actual = contents(_batches(warehouse, part), part, chunks)
        for scope in sorted(expected.keys() | actual.keys(), key=str):
            problem = _difference(expected.get(scope), actual.get(scope))
            if problem:
                found.append(f"{_words(part, scope)}: {problem}")
    return found


def strays(warehouse: Warehouse) -> list[str]:
    """Say which digests are of nothing that a warehouse has."""
    known = {(part.table, part.name) for table in tables() for part in parts(warehouse, table)}
    found = set(warehouse.rows("SELECT DISTINCT table_name, part FROM digests"))
    return [f"digests of {table}, {part}, which do not exist" for table, part in sorted(found - known)]


def _has_rows(warehouse: Warehouse, table: str) -> bool:
    """Tell whether a table holds anything: a tenth of the time that going through its parts takes."""
    return bool(warehouse.rows(f"SELECT true FROM {table} LIMIT 1"))


def _is_digested(warehouse: Warehouse, table: str) -> bool:
    query = "SELECT true FROM digests WHERE table_name = $table LIMIT 1"
    return bool(warehouse.rows(query, {"table": table}))


def tables() -> list[str]:
    """Return the tables that digests cover."""
    return [name for name in sql.table_names() if name != "digests"]


def parts(warehouse: Warehouse, table: str) -> list[Part]:
    """Return the parts of a table."""
    return _parts(table, warehouse.relation(table).columns)


def _parts(table: str, columns: Sequence[str]) -> list[Part]:
    if table in _DERIVED:
        keys = [name for name in columns if name in _SCOPE or name in _WITHIN_SCOPE]
        weights = [name for name in columns if name not in _DERIVED[table]]
        return [
            _part(table, "weights", weights),
            _part(table, "derived", [*keys, *_DERIVED[table]]),
        ]
    if table == "feature_descriptions":
        return [_part(table, kind, columns, kind) for kind in _KINDS]
    return [_part(table, "rows", columns)]


def contents(
    batches: Iterable[pa.RecordBatch], part: Part, chunks: Chunks | None = None
) -> dict[Scope, Content]:
    """Return what rows hold, by the scope they belong to."""
    found: dict[Scope, Content] = {}
    for batch in batches:
        hashed = batch.select([name for name in part.columns if name not in part.by])
        keys = [_keys(batch, name, chunks) for name in part.by]
        for key, n_rows, total in _sums(keys, row_hashes(hashed)):
            given = dict(zip(part.by, key, strict=True))
            scope = tuple(None if given.get(name, _NONE) == _NONE else given[name] for name in _SCOPE)
            n_before, before = found.get(scope, (0, 0))
            found[scope] = n_before + n_rows, (before + total) % _MODULUS
    return found


@cache
def _mined_parts() -> list[Part]:
    """Return the parts of which each feature has a digest of its own, in a warehouse of today."""
    of_tables = (_parts(table, sql.table_columns(table)) for table in tables())
    return [part for of_table in of_tables for part in of_table if "feature" in part.by]


def _part(table: str, name: str, columns: Sequence[str], kind: str | None = None) -> Part:
    wanted = ("layer", "head") if table in _WRITTEN_BY_HEAD else ("layer", "head", "feature")
    by = _LEDGERS.get(table) or tuple(key for key in wanted if key in columns)
    return Part(table, name, ("chunk_id", *by) if table in FACTS else by, tuple(columns), kind)


def _keys(batch: pa.RecordBatch, name: str, chunks: Chunks | None) -> Ints:
    """Return the values of a column that tells rows apart, `_NONE` for NULL."""
    if name == "chunk_id" and chunks is not None:
        return chunks.of(numpy_column(batch.column("seq_id")).astype(np.int64))
    return plain(batch.column(name).cast(pa.int64()), _NONE)


def _sums(keys: list[Ints], hashes: Bits) -> Iterator[tuple[list[int], int, int]]:
    """Yield (keys, rows, sum of hashes) of runs of rows with equal keys, few where they are scattered."""
    if not len(hashes):
        return
    starts = _run_starts(keys, len(hashes))
    if len(starts) > _MANY_RUNS:
        order = np.lexsort(keys)
        keys, hashes = [key[order] for key in keys], hashes[order]
        starts = _run_starts(keys, len(hashes))
    sums = np.add.reduceat(hashes, starts)
    n_rows = np.diff(starts, append=len(hashes))
    at_starts = np.array([key[starts] for key in keys], np.int64).reshape(-1, len(starts)).T
    yield from zip(at_starts.tolist(), n_rows.tolist(), sums.tolist(), strict=True)


def _run_starts(keys: list[Ints], n_rows: int) -> Ints:
    starts = np.zeros(n_rows, bool)
    starts[0] = True
    for key in keys:
        starts[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(starts)


def _batches(
    warehouse: Warehouse, part: Part, where: dict[str, Any] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a part, of those that have these values; of a list of values any."""
    wanted = {name: value for name, value in (where or {}).items() if name in part.columns}
    wanted |= {"kind": part.kind} if part.kind else {}
    # One query: put together from relations, the same took five times as long.
    query = f"SELECT {', '.join(map(_quoted, part.columns))} FROM {part.table}{_where(wanted)}"
    given = {name: value for name, value in wanted.items() if value is not None}
    yield from warehouse.sql(query, given).batches(_BATCH_ROWS)


def _any_row(part: Part, where: Mapping[str, object]) -> str:
    """Return a query of the name of a table where any row has these values."""
    return f"(SELECT '{part.table}' FROM {part.table}{_where(where)} LIMIT 1)"


def _where(wanted: Mapping[str, object]) -> str:
    tests = [_test(name, value) for name, value in wanted.items()]
    return f" WHERE {' AND '.join(tests)}" if tests else ""


def _test(name: str, value: object) -> str:
    """Return the condition that a column has the value, given as the parameter of its name."""
    if value is None:
        return f"{_quoted(name)} IS NULL"
    return f"{_quoted(name)} = " + (f"ANY(${name})" if isinstance(value, list | tuple) else f"${name}")


def _quoted(name: str) -> str:
    return f'"{name}"'


def _scopes(warehouse: Warehouse, part: Part) -> set[Scope]:
    """Return the scopes that the rows of a part belong to."""
    columns = part.by or part.columns[:1]
    without_rows = Part(part.table, part.name, part.by, columns, part.kind)
    return set(contents(_batches(warehouse, without_rows), without_rows))


def _stored(warehouse: Warehouse, part: Part) -> dict[Scope, Content]:
    found: dict[Scope, Content] = {}
    rows = warehouse.rows(sql.ledger_statement("digests_of"), {"table": part.table, "part": part.name})
    for *scope, n_rows, digest in rows:
        # Those of rows added later stand beside the first, and a damaged file may repeat one: both add up.
        n_before, before = found.get(tuple(scope), (0, 0))
        found[tuple(scope)] = n_before + n_rows, (before + digest) % _MODULUS
    return found


def _append(warehouse: Warehouse, part: Part, found: dict[Scope, Content]) -> None:
    if found:
        warehouse.append("digests", _rows(part, found))


def _rows(part: Part, found: dict[Scope, Content]) -> pa.Table:
    scopes = list(found)
    signed = [total - _MODULUS if total >= _MODULUS // 2 else total for _, total in found.values()]
    return arrow_table(
        {
            "table_name": part.table,
            "part": part.name,
            **{name: _nullable([scope[place] for scope in scopes]) for place, name in enumerate(_SCOPE)},
            "n_rows": np.array([n_rows for n_rows, _ in found.values()], np.int64),
            "digest": np.array(signed, np.int64),
        }
    )


def _nullable(numbers: Sequence[int | None]) -> Ints:
    known = np.array([0 if number is None else number for number in numbers], np.int64)
    return np.ma.masked_array(known, [number is None for number in numbers])


def _forget(
    warehouse: Warehouse,
    tables: Sequence[str],
    at: dict[str, int],
    *,
    name: str = "",
    features: Sequence[int] | None = None,
) -> None:
    anywhere = dict.fromkeys(("chunk_id", "run_id", "layer", "head"))
    warehouse.execute(
        sql.ledger_statement("forget_digests"),
        {**anywhere, **at, "tables": list(tables), "part": name, "features": features},
    )


def _difference(expected: Content | None, actual: Content | None) -> str | None:
    if expected == actual:
        return None
    if expected is None:
        return f"{(actual or (0, 0))[0]} rows of which nothing says that they were written"
    if actual is None:
        return f"none of the {expected[0]} rows that were written"
    if expected[0] != actual[0]:
        return f"{actual[0]} rows, {expected[0]} were written"
    return f"its {actual[0]} rows are not those that were written"


def _words(part: Part, scope: Scope) -> str:
    """Return how a reader knows a scope, such as `chunk 3 L0H3` or `L0H3.17`."""
    chunk, run, layer, head, feature = scope
    words = [part.name] if part.name != "rows" else []
    if "chunk_id" in part.by:
        words.append("outside every chunk" if chunk is None else f"chunk {chunk}")
    if run is not None:
        words.append(f"run {run}")
    if layer is not None:
        place = f"L{layer}" if head is None else sql.head_name(layer, head)
        words.append(place if feature is None else f"{place}.{feature}")
    return " ".join(words) or "the table"
