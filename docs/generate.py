"""Writes the pages that are read off the code: `python docs/generate.py`.

docs/dataflow.md comes from the headers of the `.sql` files, docs/cli.md from the commands' own help,
docs/schema.md from the comments of tables, views and macros, docs/methods.md from sql/methods.py.
"""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from attnrules.cli import cli
from attnrules.sql import Statement, Statements, table_names
from attnrules.sql.methods import METHODS, Method, best
from attnrules.warehouse import Warehouse

DOCS = Path(__file__).parent
# What each folder of statements is for, in the order in which a user meets them.
FOLDERS = {
    "heads": "What every miner starts from: a head's weights, its features, the size of the corpus.",
    "skipgrams": "Finding and ranking skip-gram rules: `attnrules mine skipgrams`.",
    "stated": "Stated rules, found and judged as they are read: `attnrules mine skipgrams`, `test`.",
    "evaluation": "Judging skip-gram rules, baselines and ceilings: `attnrules mine skipgrams`.",
    "absence": "Absence rules: `attnrules mine absence`.",
    "counting": "Counting rules: `attnrules mine counting`.",
    "interventions": "Absence and counting rules tested on the model: `attnrules intervene`.",
    "card": "What `attnrules show` gathers of one feature.",
}
INTRODUCTION = """\
# dataflow

Which tables each SQL step reads, which it changes, and which temporary table it makes. This page is written
by `python docs/generate.py` from the comments at the top of the steps. One test fails when the two differ,
another when a step runs before what it reads was made.

Round boxes are tables of the warehouse, square ones are temporary. An arrow is a step that reads the one and
makes or changes the other.

```sh
attnrules mine skipgrams gpt2.duckdb --verbose
```

logs the steps of a run in their order, with rows and seconds.
"""
METHODS_INTRODUCTION = """\
# methods

Every way to predict an output feature: methods that find rules, baselines and ceilings. This page is
written by `python docs/generate.py` from sql/methods.py. [method](method.md#3) defines each ranking.

```sql
FROM methods
```

A match scores `product` (a_q a_k S)(a_k V), without a query a_k V; `linear` (a_q a_k S) V; `own`, the
score of its rule; `carried`, V times what attention carries; or `holds`, the weight of the rule where its
statement holds, which is added to the log-odds. A prediction of `carried` scores is their
sum; others are put together by `--aggregation`. The rows of one rule share its rank, and are told apart by
the key, or by key and query.

| method | kind | predicts from | match score | rows of a rule | in `best` |
|---|---|---|---|---|---|"""


def dataflow() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for folder, purpose in FOLDERS.items():
        statements = Statements("attnrules.queries", folder).all()
        parts += [f"## {folder}\n", f"{purpose}\n", *graph(statements), *table(statements)]
    return "\n".join(parts)


def graph(statements: Iterable[Statement]) -> list[str]:
    """Return the graph of what is made or changed, as Mermaid; nothing where nothing is."""
    arrows = {
        (read, target)
        for statement in statements
        for target in (*statement.writes, *((statement.makes,) if statement.makes else ()))
        for read in statement.reads
        if read != target
    }
    if not arrows:
        return []
    stored = set(table_names())
    nodes = sorted({node for arrow in arrows for node in arrow})
    shapes = [f"    {node}({node})" if node in stored else f"    {node}[{node}]" for node in nodes]
    return [
        "```mermaid",
        "flowchart LR",
        *shapes,
        *(f"    {read} --> {target}" for read, target in sorted(arrows)),
        "```\n",
    ]


def table(statements: Iterable[Statement]) -> list[str]:
    """Return one row per statement."""
    rows = [
        f"| `{statement.name}` | {_names(statement.reads)} | {_names(statement.writes)}"
        f" | {_names((statement.makes,) if statement.makes else ())} |"
        for statement in statements
    ]
    return ["| step | reads | changes | makes |", "|---|---|---|---|", *rows, ""]


CLI_INTRODUCTION = """\
# cli: every command and option

This page is written by `python docs/generate.py` from what `--help` prints. A test fails when the two differ.
What to do with the commands is in [how to](how-to.md), what their numbers mean in [method](method.md).

```sh
attnrules mine skipgrams --help
```

stdout carries data only; progress, notes and messages go to stderr. An error is one line that names the
thing, what is wrong with it and what to do.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | the command line is wrong |
| 3 | the warehouse cannot be opened: missing, locked, no warehouse, another version |
| 130 | interrupted; what was committed is kept, and the same command goes on |

| variable | does |
|---|---|
| `ATTNRULES_LOG` | `info` logs each step as `--verbose` does, `debug` every other statement too |
| `ATTNRULES_TRACEBACK` | `1` adds the traceback to an error, with the SQL that failed |
| `HF_HUB_OFFLINE` | `1` asks nothing of the hub; its cache is used |
"""


def command_line() -> str:
    """Return the page on the commands."""
    return "\n".join(
        [CLI_INTRODUCTION, *(_command_section(*found) for found in every_command(cli, "attnrules"))]
    )


def every_command(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its full name, in the order of the help."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from every_command(command, f"{path} {name}")
        elif command is not None:
            yield f"{path} {name}", command


def _command_section(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path)
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    rows = [_option_row(*record) for option in options if (record := option.get_help_record(context))]
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## {path}\n", f"```text\n{usage}\n```\n", *_help_paragraphs(command)]
    return "\n".join([*parts, "| option | meaning | default, range |", "|---|---|---|", *rows, ""])


def _option_row(names: str, help_text: str) -> str:
    """Return a row; defaults and ranges are what the help says in brackets at its end."""
    meaning = re.sub(r"(\s*\[[^\[\]]*\])*$", "", help_text)
    notes = re.findall(r"\[([^\[\]]*)\]", help_text.removeprefix(meaning))
    return f"| {_code(names)} | {_cell(meaning)} | {_cell('; '.join(notes))} |"


def _help_paragraphs(command: click.Command) -> Iterator[str]:
    r"""Yield the text of a command's help; what follows a `\\b` is examples."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            yield "```sh\n" + paragraph.removeprefix("\b").strip("\n") + "\n```"
        else:
            yield " ".join(paragraph.split()) + "\n"


SCHEMA_INTRODUCTION = """\
# schema: every table, view and macro

This page is written by `python docs/generate.py` from the comments that a warehouse carries itself. A test
fails when the two differ. How to use them is in [sql](sql.md), what the numbers mean in [method](method.md).

```sql
SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = 'rules'
```

A column that may be NULL has a `?` after its type.
"""
# Any width: it is shown by its name.
_WIDTH = 77


def schema() -> str:
    """Return the page on what a warehouse is."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Warehouse.create(Path(folder) / "w.duckdb", d_head=_WIDTH) as warehouse,
    ):
        objects, macros, columns = (warehouse.rows(query) for query in (_OBJECTS, _MACROS, _COLUMNS))
    parts = [SCHEMA_INTRODUCTION, *(_contents(kind) for kind in ("tables", "views"))]
    parts += ["## Macros\n", "| macro | returns |", "|---|---|"]
    parts += [f"| `{name}({', '.join(names)})` | {_cell(comment)} |" for name, names, comment in macros]
    parts += ["", "## Columns\n"]
    for name, comment in objects:
        of_it = [column[1:] for column in columns if column[0] == name]
        parts.append(_columns(name, re.sub(r"\. This is the warehouse \w+$", "", comment), of_it))
    return "\n".join(parts)


_OBJECTS = """
SELECT table_name AS name, comment FROM duckdb_tables() WHERE NOT internal
UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE NOT internal
ORDER BY name
"""
_MACROS = """
SELECT function_name, parameters, comment FROM duckdb_functions() WHERE NOT internal ORDER BY function_name
"""
_COLUMNS = """
SELECT table_name, column_name, data_type || CASE WHEN is_nullable THEN '?' ELSE '' END, comment
FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index
"""


def _contents(kind: str) -> str:
    """Return the tables or views, each with its grain."""
    rows = [
        f"| [`{name}`](#{name}) | {_cell(_grain(statement))} |"
        for statement in Statements("attnrules.sql", kind).all()
        for name in [statement.name.removeprefix(f"{kind}/")]
    ]
    return "\n".join([f"## {kind.capitalize()}\n", "| name | a row is |", "|---|---|", *rows, ""])


def _grain(statement: Statement) -> str:
    """Return the first sentence of a definition's header: what a row is."""
    header = " ".join(line.removeprefix("-- ") for line in statement.text.split("\nCREATE ")[0].splitlines())
    return re.split(r"[.:;](?= |$)", header.removeprefix("Grain: "))[0]


def _columns(name: str, comment: str, columns: Iterable[tuple[str, str, str]]) -> str:
    rows = [
        f"| `{column}` | {data_type.replace(str(_WIDTH), 'd_head')} | {_cell(meaning)} |"
        for column, data_type, meaning in columns
    ]
    return "\n".join(
        [f"### {name}\n", f"{comment}.\n", "| column | type | meaning |", "|---|---|---|", *rows, ""]
    )


def _code(text: str) -> str:
    return "`" + text.replace("|", r"\|") + "`"


def _cell(text: str) -> str:
    """Return text as it may stand in a cell of a table."""
    return re.sub(r"([|<*_\[\]])", r"\\\1", " ".join(text.split()))


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def methods() -> str:
    """Return the page on the methods, baselines and ceilings."""
    return "\n".join([METHODS_INTRODUCTION, *map(_method_row, METHODS.values()), ""])


def _method_row(method: Method) -> str:
    mined_by_best = "yes" if method.name in best() else ""
    return (
        f"| `{method.name}` | {method.kind} | {method.meaning} | {method.match_score or ''}"
        f" | {method.shares_rank or ''} | {mined_by_best} |"
    )


GENERATED = {"dataflow.md": dataflow, "cli.md": command_line, "schema.md": schema, "methods.md": methods}

if __name__ == "__main__":
    for name, page in GENERATED.items():
        (DOCS / name).write_text(page(), "utf-8")
