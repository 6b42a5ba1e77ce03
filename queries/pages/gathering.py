"""What pages show of a warehouse, a head at a time: rows as dictionaries, not yet words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.errors import UsageError
from attnrules.queries.heads import FeatureId, HeadId, parse_feature
from attnrules.queries.questions import ask, questions
from attnrules.queries.stated import read_confirmed
from attnrules.queries.stated.reading import match
from attnrules.sql import WHOLE_LAYER, Statement, Statements
from attnrules.sql.methods import best, names
from attnrules.warehouse.arrow import arrow_table
from attnrules.warehouse.inspect import as_dictionaries, dictionaries

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "pages")
_stated = Statements("attnrules.queries", "stated")

Row = dict[str, Any]
# Rows of what recurs among the features of a head.
RECURRING = 12
# What is asked for the features of a head together, as statements of this folder.
_BY_FEATURE = (
    *("examples", "histogram", "tokens", "source_tokens", "stated", "stated_examples", "stated_inputs"),
    *("rules", "metrics"),
    *("says", "absences", "counting", "counting_cells", "parts", "outcomes", "related"),
)
# Of a feature the parts of this activation are asked for.
_STRONGEST = {"seq_id": None, "pos": None}


@dataclass(frozen=True)
class Site:
    """What the first page shows.

    Arguments:
        provenance: the model and its corpus. headline: how well rules predict, and what the model confirms.
        heads: rows of `head_summary`, with the attention of each role.
    """

    provenance: Row
    headline: Row
    heads: list[Row]


@dataclass(frozen=True)
class HeadPages:
    """What the pages of a head and of its features show.

    Arguments:
        features: every feature that fires, in order. shown: those that have a page.
        roles, distances, keys: of the head; none for an SAE over a whole layer, which has no head of its own.
        words: tokens that several features say. statements, conditions: stated rules that recur, and what
            several ask for: rows of the questions `recurring_statements` and `recurring_conditions`.
        sparks: by feature, the shape of its activations, as digits.
        keyed_method: whose rules shared keys are counted in.
        anywhere: attention by distance at drawn positions of all. parts: by name of a statement and by
            feature, its rows.
    """

    layer: int
    head: int
    features: list[Row]
    shown: list[int]
    roles: list[Row]
    distances: list[Row]
    keys: list[Row]
    words: list[Row]
    statements: list[Row]
    conditions: list[Row]
    sparks: dict[int, str]
    keyed_method: str
    anywhere: list[Row]
    parts: dict[str, dict[int, list[Row]]]

    def of(self, name: str, feature: int) -> list[Row]:
        """Return the rows of a statement about a feature."""
        return self.parts.get(name, {}).get(feature, [])


@dataclass(frozen=True)
class ExamplePage:
    """One activation of a feature: the text around it with what its sources bring, and its parts."""

    activation: float
    tokens: list[Row]
    parts: list[Row]


def site(warehouse: Warehouse) -> Site:
    """Return what the first page of a warehouse shows."""
    provenance = _rows(warehouse, "provenance", {})
    [headline] = _rows(warehouse, "headline", {})
    return Site(provenance[0] if provenance else {}, headline, _rows(warehouse, "heads", {}))


def head_pages(
    warehouse: Warehouse, layer: int, head: int, features: Sequence[int] | None = None
) -> HeadPages:
    """Return what the pages of a head show.

    Arguments:
        features: those that get a page; every one that has rules where None.
    """
    at = {"layer": layer, "head": head}
    firing = _rows(warehouse, "features", at)
    shown = [
        row["feature"]
        for row in firing
        if (row["has_rules"] if features is None else row["feature"] in set(features))
    ]
    method = _keyed_method(warehouse, at)
    of_features = {**at, "features": shown, "method": method, **_STRONGEST}
    parts = _of_features(warehouse, at, of_features) if shown else {}
    alone = head != WHOLE_LAYER
    return HeadPages(
        **at,
        features=firing,
        shown=shown,
        roles=_rows(warehouse, "head_roles", at) if alone else [],
        distances=_rows(warehouse, "head_distances", at) if alone else [],
        keys=_rows(warehouse, "head_keys", {**at, "method": method}),
        words=_rows(warehouse, "head_words", at),
        statements=_answers(warehouse, "recurring_statements", at),
        conditions=_answers(warehouse, "recurring_conditions", at),
        sparks={row["feature"]: row["spark"] for row in _rows(warehouse, "sparks", at)},
        keyed_method=method,
        anywhere=parts["distances"].get(-1, []) if shown else [],
        parts=parts,
    )


def _of_features(warehouse: Warehouse, at: Row, of_features: Row) -> dict[str, dict[int, list[Row]]]:
    with warehouse.session():
        _prepare(warehouse, of_features)
        parts = {name: _by_feature(_rows(warehouse, name, of_features)) for name in _BY_FEATURE}
        parts["distances"] = _by_feature(_rows(warehouse, "distances", {}))
        parts["example_tokens"] = _by_feature(_example_tokens(warehouse, at, parts["examples"]))
    # After the session: it makes temporary tables of the same names.
    parts["narrowings"] = _narrowings(warehouse, at)
    return parts


def _narrowings(warehouse: Warehouse, at: Row) -> dict[int, list[Row]]:
    """Return by feature what its confirmed absence and counting rules add to a rule."""
    found = read_confirmed(warehouse, HeadId(at["layer"], at["head"]))
    return _by_feature([{**asdict(one), "feature": parse_feature(one.feature).feature} for one in found])


def example_of(warehouse: Warehouse, feature: FeatureId, seq_id: int, pos: int) -> ExamplePage:
    """Return what is shown of one activation; raises `UsageError` where the feature is silent."""
    at = {"layer": feature.layer, "head": feature.head}
    of_example = {**at, "features": [feature.feature], "seq_id": seq_id, "pos": pos}
    row = {"feature": feature.feature, "seq_id": seq_id, "pos": pos}
    found = _rows(warehouse, "activation", {**at, **row})
    if not found:
        raise UsageError(f"{feature}: is silent at position {pos} of sequence {seq_id}")
    with warehouse.session():
        _make(warehouse, "key_lists", of_example)
        parts = _rows(warehouse, "parts", of_example)
        tokens = _example_tokens(warehouse, at, {feature.feature: [row]})
    return ExamplePage(found[0]["activation"], tokens, parts)


def methods_compared(warehouse: Warehouse) -> list[Row]:
    """Return how lists of rules do on all positions, by method and length, with what they are compared with.

    Rows of the question `methods`, none where no rules were judged so. They are means, without an interval.
    """
    rows = as_dictionaries(ask(warehouse, "methods", {}))
    none = {"average_precision_low": None, "average_precision_high": None}
    return [{**row, "n_rules_used": row["n_rules"], **none} for row in rows]


def features_of_head(warehouse: Warehouse, layer: int, head: int) -> Any:
    """Return the relation of the features of a head that fire, as its page lists them."""
    return warehouse.sql(step("features"), {"layer": layer, "head": head})


def _keyed_method(warehouse: Warehouse, at: Row) -> str:
    """Return the method whose keys are compared: the first of those mined by default that this head has."""
    stored = {row["method"] for row in _rows(warehouse, "rule_methods", at)}
    return next((name for name in (*best(), *names("rules")) if name in stored), "")


def _prepare(warehouse: Warehouse, of_features: Row) -> None:
    """Make the temporary tables that statements about the features of a head read."""
    for name in ("drawn_sources", "key_lists", "judged_lists", "judged", "read_rules"):
        _make(warehouse, name, of_features)
    warehouse.execute(_stated("make_read_members"))
    match(warehouse)
    _make(warehouse, "predictions", of_features)


def _make(warehouse: Warehouse, name: str, parameters: Row) -> None:
    statement = step(f"make_{name}")
    warehouse.execute(statement, _used(statement, parameters))


def found_features(warehouse: Warehouse, text: str) -> list[Row]:
    """Return the features that fire whose tokens, words or first stated rule hold a text, at most 100."""
    return _rows(warehouse, "found_features", {"text": text})


def shown_query(question: str, parameters: dict[str, int | str]) -> str:
    """Return the SQL of a named question with its parameters filled in, to be copied."""
    found = questions()[question]
    text = found.statement.text
    # The longest first, since one name may begin another.
    for name, value in sorted({**found.defaults, **parameters}.items(), key=lambda item: -len(item[0])):
        literal = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
        text = text.replace(f"${name}", "NULL" if value is None else literal)
    return "\n".join(line for line in text.splitlines() if not line.startswith("-- ")).strip()


def _example_tokens(warehouse: Warehouse, at: Row, examples: dict[int, list[Row]]) -> list[Row]:
    rows = [row for of_feature in examples.values() for row in of_feature]
    warehouse.execute(step("make_asked_examples"))
    warehouse.append(
        "asked_examples",
        arrow_table({n: np.array([row[n] for row in rows], np.int32) for n in ("feature", "seq_id", "pos")}),
    )
    warehouse.execute(step("make_asked_sources"), at)
    return _rows(warehouse, "example_tokens", {})


def _by_feature(rows: list[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["feature"]].append(row)
    return dict(found)


def _rows(warehouse: Warehouse, name: str, parameters: Row) -> list[Row]:
    statement = step(name)
    return dictionaries(warehouse, statement, _used(statement, parameters))


def _answers(warehouse: Warehouse, question: str, at: Row) -> list[Row]:
    return as_dictionaries(ask(warehouse, question, {**at, "limit": RECURRING}))


def _used(statement: Statement, parameters: Row) -> Row:
    return {key: value for key, value in parameters.items() if f"${key}" in statement.text}
