"""Between columns of numbers in Arrow and in numpy, without pandas.

`pyarrow.array`, `pyarrow.scalar` and `to_numpy` import pandas where it is installed: 0.3 s of processor time,
a tenth of what mining one feature took. Buffers are handed over without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_table(columns: dict[str, Any]) -> pa.Table:
    """Return a table of columns of numbers, [n] each; at least one must be an array.

    Masked entries of a masked array become NULL, a text stands for a column that holds it n times, and a
    column of Arrow is taken as it is.
    """
    import pyarrow as pa

    n = next(len(column) for column in columns.values() if not isinstance(column, str))

    def of_arrow(column: Any) -> pa.Array:
        if isinstance(column, pa.Array):
            return column
        return _repeated(column, n) if isinstance(column, str) else _numbers(column)

    return pa.table({name: of_arrow(column) for name, column in columns.items()})


def labels(codes: npt.NDArray[np.int8], names: Sequence[str]) -> pa.DictionaryArray:
    """Return a column of names, [n], each said by its place among `names`."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(
        _numbers(codes), pa.concat_arrays([_repeated(name, 1) for name in names])
    )


def numpy_column(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return numbers or booleans as an array, [n]; as float64 with NaN for NULL where there are any."""
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        if not values.num_chunks:
            # `combine_chunks` would make an array of none, and that imports pandas too.
            return np.empty(0, _dtype(values.type))
        values = values.combine_chunks()
    if values.null_count:
        numbers = np.full(len(values), np.nan)
        numbers[numpy_column(values.is_valid())] = numpy_column(values.drop_null())
        return numbers
    data, start, end = values.buffers()[1], values.offset, values.offset + len(values)
    if pa.types.is_boolean(values.type):
        flags = np.frombuffer(data or b"", np.uint8)
        return np.unpackbits(flags, count=end, bitorder="little")[start:].astype(bool)
    return np.frombuffer(data or b"", _dtype(values.type), end)[start:]


def _dtype(kind: pa.DataType) -> npt.DTypeLike:
    dtype: npt.DTypeLike = kind.to_pandas_dtype()
    return dtype


def _numbers(values: npt.NDArray[Any]) -> pa.Array:
    import pyarrow as pa

    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    valid = None if mask is None or not mask.any() else _bits(~mask)
    plain = np.ascontiguousarray(np.ma.getdata(values))
    data = _bits(plain) if plain.dtype == bool else pa.py_buffer(plain)
    return pa.Array.from_buffers(pa.from_numpy_dtype(plain.dtype), len(plain), [valid, data])


def _bits(flags: npt.NDArray[np.bool_]) -> pa.Buffer:
    import pyarrow as pa

    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def _repeated(text: str, n: int) -> pa.Array:
    import pyarrow as pa

    encoded = text.encode()
    offsets = np.arange(n + 1, dtype=np.int64) * len(encoded)
    return pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(encoded * n))
