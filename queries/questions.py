"""Named questions and ad hoc SQL: `attnrules query`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnrules.errors import UsageError
from attnrules.sql import Statement, Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

_PARAMETER = re.compile(r"^-- \$(\w+) = (\S+): (.*)$")


@dataclass(frozen=True)
class Question:
    """A named query.

    Arguments:
        name: what it is called. title: what it answers. statement: the SQL, with `$name` places.
        defaults: value of each parameter. meanings: what each parameter is.
    """

    name: str
    title: str
    statement: Statement
    defaults: dict[str, Any]
    meanings: dict[str, str]


def questions() -> dict[str, Question]:
    """Return every named question; its file's first comment is its title, the next its parameters."""
    found = {}
    for statement in Statements("attnrules.queries", "questions").all():
        lines = statement.text.splitlines()
        parameters = [match for line in lines if (match := _PARAMETER.match(line))]
        name = statement.name.removeprefix("questions/")
        found[name] = Question(
            name,
            lines[0].removeprefix("-- "),
            statement,
            {p[1]: json.loads(p[2]) for p in parameters},
            {p[1]: p[3] for p in parameters},
        )
    return found


def ask(warehouse: Warehouse, question: str, parameters: Mapping[str, object]) -> Any:
    """Run a named question, or SQL, and return a DuckDB relation.

    Raises `UsageError` for a name or parameter that does not exist, `AttnRulesError` when SQL fails.
    """
    known = questions()
    if question in known:
        named = known[question]
        for name in parameters:
            if name not in named.defaults:
                takes = ", ".join(named.defaults) or "none"
                raise UsageError(f"{question}: has no parameter {name!r}; it takes {takes}")
        return warehouse.sql(named.statement, {**named.defaults, **parameters})
    if re.fullmatch(r"[\w-]+", question):
        raise UsageError(
            f"no question named {question!r}; there are {', '.join(known)}; anything longer than a word"
            " is taken for SQL"
        )
    return warehouse.sql(question, parameters)
