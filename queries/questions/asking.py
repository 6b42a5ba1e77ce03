"""Named questions and ad hoc SQL: `attnrules query`."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

from attnrules.errors import UsageError, closest
from attnrules.queries.questions.held import refuse_unknown
from attnrules.queries.questions.readonly import check_single
from attnrules.sql import WHOLE_LAYER, Statement, Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

_PARAMETER = re.compile(r"^-- \$(\w+) = (\"[^\"]*\"|\S+): (.*)$")
_GROUP = "-- Group: "
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_ONE_OF = "one of "
_NEEDS = re.compile(r"(?m)^-- Needs: (\w+)$")
_FILLED_BY = {
    "rules": "mine skipgrams",
    "rule_evaluations": "mine skipgrams",
    "stated_rules": "mine skipgrams",
    "distractors": "mine absence",
    "absence_tests": "intervene",
    "counting_counts": "mine counting",
    "counting_rules": "mine counting",
    "stated_tests": "intervene --stated",
}
# What a parameter means that is a head of the model, whatever output SAEs read.
_OF_MODEL = "a head of the model"
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Question:
    """A named query.

    Arguments:
        name: what it is called. title: what it answers. group: what it is about, among questions.
        statement: the SQL, with `$name` places.
        defaults: value of each parameter. meanings: what each parameter is.
        needs: the table that its rows come from, where another command than an ingest fills it.
    """

    name: str
    title: str
    group: str
    statement: Statement
    defaults: dict[str, Any]
    meanings: dict[str, str]
    needs: str | None = None

    def value(self, name: str, given: object) -> object:
        """Return a parameter's value, text read as the type of its default; `null` is all, as None is.

        Raises `UsageError` for a parameter that the question has not, a value of another type, a number below
        0 of what is counted, or a word that its meaning does not list after `one of`.
        """
        if name not in self.defaults:
            takes = ", ".join(self.defaults) or "none"
            raise UsageError(f"{self.name}: has no parameter {name!r}; it takes {takes}")
        default = self.defaults[name]
        if isinstance(default, str):
            return self._word(name, given)
        if given in (None, "null") and (default is None or name == "limit"):
            return None
        kind = float if isinstance(default, float) else int
        number = _number(given, kind)
        if number is None:
            what = "a number" if kind is float else "a whole number"
            raise UsageError(f"{self.name}: {name}={given} is not {what}, such as {default or 0}")
        if number == WHOLE_LAYER and self.meanings[name] == _OF_MODEL:
            raise UsageError(
                f"{self.name}: {name}={given} is an SAE over a whole layer; name a head of the model, from 0"
            )
        if number < (WHOLE_LAYER if name in ("head", "other_head") else 0):
            raise UsageError(f"{self.name}: {name}={given} is below 0, and cannot be")
        return number

    def _word(self, name: str, given: object) -> str:
        if not isinstance(given, str):
            raise UsageError(f"{self.name}: {name}={given} is not a text, such as {self.defaults[name]!r}")
        choices, listed = _listed(self.meanings[name])
        if listed and given not in choices:
            raise UsageError(
                f"{self.name}: {name}={given} is none of {', '.join(choices)}{closest(given, choices)}"
            )
        return given


def _listed(meaning: str) -> tuple[list[str], bool]:
    """Return the words that a parameter's meaning lists, up to a semicolon, and whether it lists any."""
    words = meaning.partition(";")[0]
    return words.removeprefix(_ONE_OF).split(", "), words.startswith(_ONE_OF)


def _number(given: object, kind: type) -> int | float | None:
    """Read a whole number, or for `float` any finite one; None for what is none."""
    if isinstance(given, bool):
        return None
    if isinstance(given, str):
        return _number_of_text(given, kind)
    with suppress(TypeError):
        return operator.index(cast("SupportsIndex", given))
    return float(given) if kind is float and isinstance(given, Real) and isfinite(given) else None


def _number_of_text(text: str, kind: type) -> int | float | None:
    if _WHOLE.fullmatch(text):
        return int(text)
    number = float(text) if kind is float and _DECIMAL.fullmatch(text) else None
    return None if number is None or not isfinite(number) else number


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
            needs[1] if (needs := _NEEDS.search(statement.text)) else None,
        )
    return found


def ask(warehouse: Warehouse, question: str, parameters: Mapping[str, object]) -> Any:
    """Run a named question, or SQL, and return a DuckDB relation.

    Raises `UsageError` for a name or parameter that does not exist, and for a head, feature, method, token or
    position that the warehouse does not hold; `AttnRulesError` when SQL fails or is more than one statement.
    """
    known = questions()
    if question in known:
        named = known[question]
        given = {name: named.value(name, value) for name, value in parameters.items()}
        refuse_unknown(warehouse, question, given, {**named.defaults, **given})
        return warehouse.sql(named.statement, {**named.defaults, **given})
    if not seems_sql(question):
        raise UsageError(
            f"no question named {question!r}{closest(question, known)}; there are {', '.join(known)};"
            " anything longer than a word is taken for SQL"
        )
    # Of several the answers of all but the last would be lost.
    check_single(warehouse, question)
    return warehouse.sql(question, parameters)


def why_empty(warehouse: Warehouse, question: Question) -> str:
    """Say why a question has no rows, and which command may find some."""
    table = question.needs
    if table is None:
        return "no rows: nothing in this warehouse is as asked"
    remedy = f"`attnrules {_FILLED_BY[table]}`"
    if warehouse.value(f"SELECT count(*) FROM {table}"):
        return f"no rows: nothing in the table {table} is as asked; {remedy} fills it"
    return f"no rows: the table {table} is empty; run {remedy}"


def seems_sql(question: str) -> bool:
    """Return whether a question is taken for SQL: anything longer than a word."""
    return re.fullmatch(r"[\w-]*", question) is None
