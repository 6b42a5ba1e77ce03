"""Arrays: how results of queries become numpy's, and the few selections that every miner makes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnrules.warehouse.arrow import numpy_column

if TYPE_CHECKING:
    from attnrules.warehouse import Query, Warehouse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LOW_32 = np.uint64(0xFFFFFFFF)


def one_blas_thread() -> AbstractContextManager[object]:
    """Hold BLAS at one thread: how it splits a product among threads decides the last bits of the result."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def top_k(scores: Floats, k: int) -> Ints:
    """Return the columns of the k largest entries of each row, largest first, ties by column."""
    k = min(k, scores.shape[1])
    smallest_kept = np.partition(scores, -k, axis=1)[:, -k][:, None]
    kept = scores >= smallest_kept
    tied = np.flatnonzero(np.count_nonzero(kept, axis=1) > k)
    equal = scores[tied] == smallest_kept[tied]
    room = k - (kept[tied] & ~equal).sum(axis=1, keepdims=True)
    kept[tied] &= ~equal | (equal.cumsum(axis=1) <= room)
    chosen = (np.flatnonzero(kept) % scores.shape[1]).reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def run_starts(values: Any) -> Ints:
    """Return where a value differs from the one before it, the first one included."""
    is_first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    return np.flatnonzero(is_first)


def matrix(column: object) -> Floats:
    """Return an Arrow column of n vectors of width d as a matrix [n, d]."""
    import pyarrow as pa

    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    vectors = chunked.combine_chunks()
    flat = numpy_column(vectors.flatten()).astype(np.float64)
    return np.asarray(flat.reshape(len(vectors), -1))


def arrays(
    warehouse: Warehouse, query: Query, parameters: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Return the columns of a query's result as numpy arrays, integers as int64 and the rest as float64."""
    table = warehouse.sql(query, parameters).to_arrow_table()
    stored = {column: numpy_column(table.column(column)) for column in table.column_names}
    return {
        column: values.astype(np.int64 if np.issubdtype(values.dtype, np.integer) else np.float64)
        for column, values in stored.items()
    }


def mix32(numbers: Ints) -> Ints:
    """Return the macro `mix32` of the low 32 bits of each number: the finaliser of MurmurHash3."""
    h = numbers.astype(np.uint64) & _LOW_32
    h ^= h >> np.uint64(16)
    h = h * np.uint64(0x85EBCA6B) & _LOW_32
    h ^= h >> np.uint64(13)
    h = h * np.uint64(0xC2B2AE35) & _LOW_32
    h ^= h >> np.uint64(16)
    return h.astype(np.int64)


def exact_sums(owner: Ints, addend: Floats, n_owners: int, most: float = np.inf) -> Floats:
    """Return the macro `exact_sum` of the addends of each owner, the same bits: [n_owners].

    Whole multiples of 2^-48, halves rounded away from zero. Doubles add them exactly where no owner's sizes
    add up to more than 32; otherwise they are added as two numbers, of 32 bits and of the rest.

    Arguments:
        most: what the sizes of the addends of an owner add up to at most.
    """
    units = addend * 2.0**48
    whole = np.trunc(units)
    units -= whole
    units *= 2
    whole += np.trunc(units, out=units)
    # Half of the bound is left to the rounding of addends.
    if most < 16:
        return np.asarray(np.bincount(owner, whole, n_owners) * 2.0**-48)
    high = np.trunc(whole * 2.0**-32)
    whole -= high * 2.0**32
    total = np.bincount(owner, high, n_owners) * 2.0**32 + np.bincount(owner, whole, n_owners)
    return np.asarray(total * 2.0**-48)
