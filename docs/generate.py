"""Writes docs/dataflow.md from the headers of the `.sql` files: `python docs/generate.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attnrules.sql import Statement, Statements, table_names

DOCS = Path(__file__).parent
# What each folder of statements is for, in the order in which a user meets them.
FOLDERS = {
    "heads": "What every miner starts from: a head's weights, its features, the size of the corpus.",
    "skipgrams": "Finding and ranking skip-gram rules: `attnrules mine skipgrams`.",
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


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    (DOCS / "dataflow.md").write_text(dataflow(), "utf-8")
