"""`attnrules query`: named questions and SQL, in the format you like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from attnrules.commands.clock import Clock
from attnrules.commands.options import Amount, named_values, parameter_option, warehouse_argument
from attnrules.commands.output import FORMATS, write_result
from attnrules.commands.terminal import say, tell
from attnrules.errors import AttnRulesError, UsageError, one_line

if TYPE_CHECKING:
    from attnrules.queries.questions import Question
    from attnrules.warehouse import Warehouse

_TABLE_ROWS = 50
# A question says itself how many rows it has, and those without a limit fit, as headline does.
_QUESTION_ROWS = 1000
_DATA_ROWS = 1_000_000
# Questions in the order in which they come up: from the whole to one position, and rules last.
_GROUPS = (
    *("the warehouse", "heads", "features of a head", "one feature", "one position"),
    *("tokens and text", "rules"),
)


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of questions to a shell."""
    from attnrules.queries.questions import questions

    return [name for name in questions() if name.startswith(incomplete)]


def _list(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """List the questions, which are the same of every warehouse, and end."""
    from attnrules.queries.questions import questions

    if asked:
        tell(*_listing(questions().values()))
        ctx.exit()


@click.command("query")
@warehouse_argument
@click.argument("question", required=False, shell_complete=_complete)
@parameter_option("Fill $KEY with a text, or KEY:TYPE=VALUE with another type, such as n:INT=5.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "--limit-rows",
    type=click.IntRange(0, 10**15),
    metavar="N",
    help=f"Rows to write, 0 for all.  [in a table {_TABLE_ROWS} of SQL and {_QUESTION_ROWS:,} of a question,"
    f" otherwise {_DATA_ROWS:,}]",
)
@click.option(
    "--timeout",
    type=Amount(0, 10**8),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long DuckDB may compute, 0 for as long as it takes.",
)
@click.option("--allow-files", is_flag=True, help="Let SQL read files and the network.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="List the named questions.",
)
def command(
    warehouse: Path,
    question: str | None,
    parameters: tuple[str, ...],
    form: str,
    limit_rows: int | None,
    timeout: float,
    allow_files: bool,
) -> None:
    """Ask a named question, or run SQL that reads.

    \b
    attnrules query gpt2.duckdb best_features -p min_f1=0.4
    attnrules query gpt2.duckdb "FROM rule_metrics_by_head" --format csv
    attnrules query gpt2.duckdb 'FROM vocabulary WHERE token = $t' -p t=5
    attnrules query --list
    """
    from attnrules.queries.questions import questions, why_empty
    from attnrules.warehouse import Warehouse

    known = questions()
    if question is None:
        tell(*_listing(known.values()))
        return
    with Warehouse.open(warehouse, allow_files=allow_files) as opened:
        clock = Clock(opened, timeout)
        relation = _relation(opened, clock, question, _parameters(opened, parameters))
        default = _QUESTION_ROWS if question in known else _TABLE_ROWS
        limit = (default if form == "table" else _DATA_ROWS) if limit_rows is None else limit_rows
        rows = write_result(relation, form, clock, limit or None)
        if question in known and not rows.n:
            say(why_empty(opened, known[question]))
    if rows.more:
        _tell_of_more(rows.n, asked=limit_rows is not None or form == "table")


def _listing(known: Iterable[Question]) -> Iterator[str]:
    """Yield the questions as lines, by group."""
    by_group: dict[str, list[Question]] = {group: [] for group in _GROUPS}
    for question in known:
        by_group[question.group].append(question)
    for place, (group, asked) in enumerate(by_group.items()):
        yield from ("", group) if place else (group,)
        yield from map(_listed, asked)


def _listed(question: Question) -> str:
    defaults = " ".join(f"-p {name}={_shell_value(value)}" for name, value in question.defaults.items())
    return f"  {question.name:24} {question.title}" + (f"  [{defaults}]" if defaults else "")


def _shell_value(value: object) -> str:
    return "null" if value is None else quote(str(value))


def _relation(warehouse: Warehouse, clock: Clock, question: str, parameters: dict[str, object]) -> Any:
    from attnrules.queries.questions import ask, questions, seems_sql
    from attnrules.queries.questions.readonly import check_reads

    if question not in questions() and seems_sql(question):
        check_reads(warehouse, question)
    # Some statements, such as EXPLAIN ANALYZE, run before the first row is asked for.
    with clock.running():
        relation = ask(warehouse, question, parameters)
    if relation is None:
        raise UsageError("that SQL is a statement without a result; ask with SELECT or FROM")
    return relation


def _tell_of_more(n: int, *, asked: bool) -> None:
    cut = f"the first {n:,} rows; there are more, --limit-rows 0 writes all of them"
    if not asked:
        # A script must not take a part for the whole.
        raise AttnRulesError(f"stopped after {cut}")
    say(cut)


def _parameters(warehouse: Warehouse, texts: tuple[str, ...]) -> dict[str, object]:
    return {
        name: value if kind is None else _typed(warehouse, value, kind)
        for name, (kind, value) in named_values(texts).items()
    }


def _typed(warehouse: Warehouse, text: str, kind: str) -> object:
    """Return a text as a value of the DuckDB type `kind`."""
    import duckdb

    try:
        column = duckdb.ColumnExpression("value").cast(duckdb.sqltype(kind))
        return warehouse.sql("SELECT $text AS value", {"text": text}).select(column).fetchall()[0][0]
    except (AttnRulesError, duckdb.Error) as error:
        raise UsageError(f"-p: {text} is not of type {kind}: {one_line(error)}") from error
