"""`attnrules query`: named questions and SQL, in the format you like."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnrules.commands.options import warehouse_argument
from attnrules.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet")
_TABLE_ROWS = 50


@click.command("query")
@warehouse_argument
@click.argument("question", required=False)
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="KEY=VALUE")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--list", "listing", is_flag=True, help="List the named questions.")
def command(
    warehouse: Path, question: str | None, parameters: tuple[str, ...], form: str, listing: bool
) -> None:
    """Ask a named question, or run SQL (read-only).

    \b
    attnrules query gpt2.duckdb best_features -p min_f1=0.4
    attnrules query gpt2.duckdb "FROM rule_metrics_by_head" --format csv
    attnrules query gpt2.duckdb --list
    """
    from attnrules.queries.questions import ask, questions
    from attnrules.warehouse import Warehouse

    if listing or question is None:
        for named in questions().values():
            defaults = " ".join(f"-p {name}={value}" for name, value in named.defaults.items())
            click.echo(f"{named.name:16} {named.title}" + (f"  [{defaults}]" if defaults else ""))
        return
    with Warehouse.open(warehouse) as opened:
        relation = ask(opened, question, dict(_parameter(text) for text in parameters))
        if relation is None:
            raise UsageError("that SQL is a statement without a result; ask with SELECT or FROM")
        if form == "csv":
            relation = _without_nested(relation)
        write_frame(relation.pl(), form)


def write_frame(frame: pl.DataFrame, form: str) -> None:
    """Write a polars frame to stdout in one of `FORMATS`."""
    if form == "parquet":
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        sys.stdout.buffer.write(buffer.getvalue())
    elif form == "csv":
        click.echo(frame.write_csv(), nl=False)
    elif form == "json":
        click.echo(frame.write_json())
    elif form == "jsonl":
        click.echo(frame.write_ndjson(), nl=False)
    elif form == "markdown":
        click.echo(_drawn(frame, formatting="MARKDOWN", rows=-1, width=-1))
    else:
        width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 200
        click.echo(_drawn(frame.head(_TABLE_ROWS), formatting="UTF8_FULL_CONDENSED", rows=-1, width=width))
        if len(frame) > _TABLE_ROWS:
            click.echo(f"{_TABLE_ROWS} of {len(frame)} rows; --format csv shows all of them", err=True)


def _drawn(frame: pl.DataFrame, *, formatting: Any, rows: int, width: int) -> str:
    import polars as pl

    with pl.Config(
        tbl_formatting=formatting,
        tbl_rows=rows,
        tbl_cols=-1,
        tbl_width_chars=width,
        fmt_str_lengths=80,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        return str(frame)


def _without_nested(relation: Any) -> Any:
    import duckdb

    return relation.select(
        *(
            duckdb.ColumnExpression(name).cast("VARCHAR").alias(name)
            if kind.id in ("list", "array", "struct", "map")
            else duckdb.ColumnExpression(name)
            for name, kind in zip(relation.columns, relation.types, strict=True)
        )
    )


def _parameter(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"-p {text}: write it as key=value")
    for read in (int, float):
        try:
            return name, read(value)
        except ValueError:
            continue
    return name, value
