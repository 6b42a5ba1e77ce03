"""Named questions and ad hoc SQL: `attnrules query`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnrules.errors import UsageError, closest
from attnrules.sql import Statement, Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

_PARAMETER = re.compile(r"^-- \$(\w+) = (\"[^\"]*\"|\S+): (.*)$")
_GROUP = "-- Group: "
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Question:
    """A named query.

    Arguments:
        name: what it is called. title: what it answers. group: what it is about, among questions.
        statement: the SQL, with `$name` places.
        defaults: value of each parameter. meanings: what each parameter is.
    """

    name: str
    title: str
    group: str
    statement: Statement
    defaults: dict[str, Any]
    meanings: dict[str, str]

    def value(self, name: str, given: object) -> object:
        """Return a parameter's value, text read as the type of its default.

        Raises `UsageError` for a parameter that the question has not, or a value of another type.
        """
        if name not in self.defaults:
            takes = ", ".join(self.defaults) or "none"
            raise UsageError(f"{self.name}: has no parameter {name!r}; it takes {takes}")
        default = self.defaults[name]
        if not isinstance(given, str) or isinstance(default, str):
            return given
        number = _number(given, type(default))
        if number is None:
            kind = "whole number" if isinstance(default, int) else "number"
            raise UsageError(f"{self.name}: {name}={given} is not a {kind}, such as {default}")
        return number


def _number(text: str, kind: type) -> int | float | None:
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if kind is float and _DECIMAL.fullmatch(text) else None


def questions() -> dict[str, Question]:
    """Return every named question: the first comment of its file is its title, the next its group."""
    found = {}
    for statement in Statements("attnrules.queries", "questions").all():
        lines = statement.text.splitlines()
        parameters = [match for line in lines if (match := _PARAMETER.match(line))]
        name = statement.name.removeprefix("questions/")
        found[name] = Question(
            name,
            lines[0].removeprefix("-- "),
            lines[1].removeprefix(_GROUP),
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
        given = {name: named.value(name, value) for name, value in parameters.items()}
        return warehouse.sql(named.statement, {**named.defaults, **given})
    if not seems_sql(question):
        raise UsageError(
            f"no question named {question!r}{closest(question, known)}; there are {', '.join(known)};"
            " anything longer than a word is taken for SQL"
        )
    return warehouse.sql(question, parameters)


def seems_sql(question: str) -> bool:
    """Return whether a question is taken for SQL: anything longer than a word."""
    return re.fullmatch(r"[\w-]*", question) is None
