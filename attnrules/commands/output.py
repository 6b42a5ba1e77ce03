"""The result of a query in every format: whatever DuckDB holds comes out whole, and batch by batch.

DuckDB itself writes values as text and as JSON, since it alone knows all of its types: Python has no
interval of months, Arrow no integer of 39 digits. The rules are in docs/queries.md.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from attnrules.commands.terminal import on_terminal, replace_hidden, visible, write_bytes, write_text
from attnrules.errors import UsageError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from attnrules.commands.clock import Clock

FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet")
_VIEW = "attnrules_result"
_CELL = 80
# Wide enough for every table: what is wrapped is wrapped here.
_ANY_WIDTH = 1 << 15
# A column of text is not made narrower; longer words may be broken before numbers are out of line.
_NARROWEST, _LONGEST_WORD = 8, 24
# Spaces at which a cell may be broken.
_BREAK = re.compile(r"(?<![\['\" ]) ")
_NATIVE = {
    *("boolean", "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint"),
    *("float", "double"),
}
# Parquet, or Arrow on the way to it, has no type for these.
_NOT_IN_PARQUET = {
    *("interval", "union", "bit", "bignum", "variant", "geometry", "time with time zone", "type", "tuple"),
    *("hugeint", "uhugeint"),
}
_HUGE = {"hugeint", "uhugeint"}
_NESTED = {"list", "array", "struct", "map", "union", "tuple"}
# Outside of strings, what DuckDB writes for numbers and nothing in text and JSON, and JSON lacks.
_NOT_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN|-?inf|nan|NULL')
_AS_JSON = {
    **{"NaN": '"NaN"', "nan": '"NaN"', "NULL": "null"},
    **{"Infinity": '"Infinity"', "inf": '"Infinity"', "-Infinity": '"-Infinity"', "-inf": '"-Infinity"'},
}
_MARKDOWN_SIGN = re.compile(r"[\\|`*<&~]|(?<![^\W_])_|_(?![^\W_])")


@dataclass
class Rows:
    """Batches of a result, of which at most `limit` rows are taken.

    Afterwards `n` is the number taken, and `more` tells whether there were others.
    """

    batches: Iterator[pa.RecordBatch]
    limit: int | None
    n: int = 0
    more: bool = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.batches:
            left = batch.num_rows if self.limit is None else self.limit - self.n
            self.more = batch.num_rows > left
            taken = batch.slice(0, left)
            self.n += taken.num_rows
            if taken.num_rows:
                yield taken
            if self.more:
                return


def write_result(relation: Any, form: str, clock: Clock, limit: int | None) -> Rows:
    """Write the rows of a relation to stdout in one of `FORMATS`, at most `limit` of them.

    Nothing is written before the first batch is there. Raises `UsageError` for Parquet on a terminal,
    `AttnRulesError` when the query fails or time is up, and as `terminal.tell` does.
    """
    if form == "parquet" and on_terminal():
        raise UsageError("--format parquet is not text: redirect it, such as > result.parquet")
    names = distinct_names([visible(name) if _for_people(form) else name for name in relation.columns])
    shown = _columns(
        relation, {"json": _json, "jsonl": _json, "table": _native, "parquet": _storable}.get(form, _text)
    )
    with closing(clock.batches(shown)) as read:
        rows = Rows(read, limit)
        batches = iter(rows)
        first = next(batches, None)
        if first is None:
            with clock.running():
                nothing = shown.limit(0).to_arrow_table()
            _WRITERS[form](names, nothing.schema, batches)
        else:
            _WRITERS[form](names, first.schema, chain([first], batches))
    return rows


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return names with a number behind each that stood before: a, a_1; an `a_1` of the query's own stays."""
    taken: set[str] = set()
    distinct = []
    for name in names:
        new, number = name, 0
        while new in taken or (number and new in names):
            number += 1
            new = f"{name}_{number}"
        taken.add(new)
        distinct.append(new)
    return distinct


def as_text(relation: Any) -> Any:
    """Return a relation with every column as the text that DuckDB writes of it."""
    return _columns(relation, _text)


def tell_json(value: object) -> None:
    """Print a plain value as JSON; NaN and infinity are the strings that `_NOT_JSON` tells of."""
    write_text(_numbers_in_json(json.dumps(value, indent=2, default=_plain)) + "\n")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def _for_people(form: str) -> bool:
    return form in ("table", "markdown") or (form == "csv" and on_terminal())


def _columns(relation: Any, expression: Callable[[Any, Any], Any]) -> Any:
    """Return a relation of `expression` of each column, whatever the columns are called."""
    from duckdb import ColumnExpression

    names = [f"c{i}" for i in range(len(relation.columns))]
    numbered = relation.query(_VIEW, f"FROM {_VIEW} AS result({', '.join(names)})")
    return numbered.select(
        *(
            expression(ColumnExpression(name), kind).alias(name)
            for name, kind in zip(names, relation.types, strict=True)
        )
    )


def _text(column: Any, kind: Any) -> Any:  # noqa: ARG001
    return column.cast("VARCHAR")


def _native(column: Any, kind: Any) -> Any:
    return column if kind.id in _NATIVE else _text(column, kind)


def _json(column: Any, kind: Any) -> Any:
    from duckdb import FunctionExpression

    # As text, a FLOAT is the shortest number that reads as the same one, and stored JSON is as it was.
    item = kind.children[0][1] if kind.id in ("list", "array") else kind
    if item.id == "float" or str(kind) == "JSON":
        return column.cast("VARCHAR")
    return FunctionExpression("to_json", column).cast("VARCHAR")


def _storable(column: Any, kind: Any) -> Any:
    if kind.id in _HUGE:
        return column.cast("DECIMAL(38, 0)")
    if not _kinds(kind) & _NOT_IN_PARQUET:
        return column.cast("TIMESTAMP") if kind.id == "timestamp_s" else column
    return _json(column, kind) if kind.id in _NESTED else _text(column, kind)


def _kinds(kind: Any) -> set[str]:
    """Return the ids of a type and of every type within it."""
    inner = [child for _, child in kind.children if hasattr(child, "id")] if kind.id in _NESTED else []
    return {kind.id}.union(*map(_kinds, inner))


def _write_csv(names: list[str], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:  # noqa: ARG001
    import polars as pl

    _put(pl.DataFrame({name: [] for name in names}, dict.fromkeys(names, pl.String)).write_csv())
    for batch in batches:
        frame = pl.DataFrame(batch, schema=names)
        if on_terminal():
            frame = _made_visible(frame)
        if len(names) == 1:
            # A lone NULL would be an empty line, which readers skip.
            frame = frame.fill_null("")
        _put(frame.write_csv(include_header=False))


def _write_jsonl(names: list[str], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:  # noqa: ARG001
    for batch in batches:
        _put("".join(f"{row}\n" for row in _objects(names, batch)), in_ascii=_json_escape)


def _write_json(names: list[str], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:  # noqa: ARG001
    before = "["
    for batch in batches:
        _put(before + ",\n".join(_objects(names, batch)), in_ascii=_json_escape)
        before = ",\n"
    _put("[]\n" if before == "[" else "]\n")


def _objects(names: list[str], batch: pa.RecordBatch) -> Iterator[str]:
    """Write each row of JSON texts as an object."""
    keys = [f"{json.dumps(name, ensure_ascii=False)}:" for name in names]
    columns = [column.to_pylist() for column in batch.columns]
    for values in zip(*columns, strict=True):
        cells = (
            key + ("null" if value is None else _one_line(value))
            for key, value in zip(keys, values, strict=True)
        )
        yield replace_hidden(f"{{{','.join(cells)}}}", _json_escape)


def _one_line(value: str) -> str:
    # Only between the values of stored JSON can there be line ends.
    return _numbers_in_json(value if value.isprintable() else re.sub(r"[\r\n\t]", " ", value))


def _numbers_in_json(text: str) -> str:
    return _NOT_JSON.sub(lambda found: _AS_JSON.get(found[0], found[0]), text)


def _json_escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else json.dumps(character)[1:-1]


def _write_markdown(names: list[str], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:  # noqa: ARG001
    header = [_markdown(name) for name in names]
    widths: list[int] = []
    for batch in batches:
        columns = [[_markdown(value) for value in column.to_pylist()] for column in batch.columns]
        if not widths:
            widths = [max(map(len, [name, *cells])) for name, cells in zip(header, columns, strict=True)]
            write_text(_markdown_header(header, widths))
        write_text("".join(_markdown_row(cells, widths) for cells in zip(*columns, strict=True)))
    if not widths:
        write_text(_markdown_header(header, [len(name) for name in header]))


def _markdown_header(names: list[str], widths: list[int]) -> str:
    return f"{_markdown_row(names, widths)}|{'|'.join('-' * (width + 2) for width in widths)}|\n"


def _markdown_row(cells: Sequence[str], widths: list[int]) -> str:
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |\n"


def _markdown(value: str | None) -> str:
    return "null" if value is None else _MARKDOWN_SIGN.sub(r"\\\g<0>", visible(value))


def _write_table(names: list[str], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    import polars as pl

    frames = [pl.DataFrame(batch, schema=names) for batch in batches]
    frame = pl.concat(frames) if frames else pl.DataFrame(schema.empty_table(), schema=names)
    width = shutil.get_terminal_size((120, 24)).columns if on_terminal() else 200
    with pl.Config(
        tbl_formatting="UTF8_FULL_CONDENSED" if _draws_boxes() else "ASCII_FULL_CONDENSED",
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=_ANY_WIDTH,
        fmt_str_lengths=_ANY_WIDTH,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        table = _fitted(_made_visible(frame), width)
        text = (_records(frame) or f"{', '.join(names)}\n") if table is None else f"{table}\n"
    write_text(text)


def _fitted(frame: pl.DataFrame, width: int) -> pl.DataFrame | None:
    """Wrap cells of text so that the table has this width, None where even then it is wider.

    polars would wrap names of columns too, in the middle of a word. It is asked under the settings of the
    table how wide a column is: numbers are as wide as it writes them.
    """
    import polars as pl

    widths = {name: _width_of(frame.select(name)) for name in frame.columns}
    room = width - 1 - len(" ┆ ") * len(widths)
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    words = {name: max(len(name), min(_LONGEST_WORD, _longest_word(frame[name]))) for name in texts}
    # Words stay whole where there is room for them, names of columns always.
    for least in (words, {name: max(len(name), _NARROWEST) for name in texts}):
        for limit in range(max((widths[name] for name in texts), default=1), 0, -1):
            fits = {name: min(widths[name], max(limit, least.get(name, widths[name]))) for name in widths}
            if sum(fits.values()) <= room:
                return frame.with_columns(
                    pl.col(name).map_elements(partial(_wrapped, width=fits[name]), return_dtype=pl.String)
                    for name in texts
                    if fits[name] < widths[name]
                )
    return None


def _width_of(column: pl.DataFrame) -> int:
    """Return how wide the only column of a frame is, without its borders."""
    return len(str(column).partition("\n")[0]) - len("│ ") - len(" │")


def _longest_word(column: pl.Series) -> int:
    return max((len(word) for cell in column.drop_nulls() for word in _BREAK.split(cell)), default=0)


def _wrapped(text: str, width: int) -> str:
    """Break a cell into lines, at a space where there is one that does not begin a token in quotes."""
    lines = []
    while len(text) > width:
        spaces = [found.start() for found in _BREAK.finditer(text, 0, width + 1)]
        end = spaces[-1] if spaces else width
        lines.append(text[:end])
        text = text[end:].removeprefix(" ") if spaces else text[end:]
    return "\n".join([*lines, text])


def _records(frame: pl.DataFrame) -> str:
    """Return rows one below the other, a line for each column: for names that do not fit side by side."""
    longest = max(map(len, frame.columns))
    rows = (
        "".join(f"{name:>{longest}}  {_cell(value)}\n" for name, value in row.items())
        for row in frame.iter_rows(named=True)
    )
    return "\n".join(rows)


def _cell(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    # As many digits as single precision has.
    return f"{value:.7g}" if isinstance(value, float) else visible(str(value))


def _draws_boxes() -> bool:
    try:
        "┌═╞…".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _made_visible(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return frame.with_columns(pl.col(pl.String).map_elements(_short, return_dtype=pl.String))


def _short(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= _CELL else f"{shown[:_CELL]}…"


def _write_parquet(names: list[str], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    with parquet.ParquetWriter(pa.PythonFile(_Stdout(), mode="w"), schema) as writer:
        for batch in batches:
            writer.write_batch(batch.rename_columns(names))


class _Stdout(io.RawIOBase):
    """Stdout as a file of bytes, whose failures are told as everywhere."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        write_bytes(bytes(data))
        return len(data)


def _put(text: str, in_ascii: Callable[[str], str] | None = None) -> None:
    """Write data as UTF-8, which a terminal of another encoding is given as it can show it."""
    if not on_terminal():
        write_bytes(text.encode())
        return
    if in_ascii and not _draws_boxes():
        text = re.sub(r"[^\x00-\x7f]", lambda found: in_ascii(found[0]), text)
    write_text(text)


_WRITERS: dict[str, Callable[[list[str], pa.Schema, Iterable[pa.RecordBatch]], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "markdown": _write_markdown,
    "parquet": _write_parquet,
}
