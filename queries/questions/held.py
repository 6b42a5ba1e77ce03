"""Whether a warehouse holds what is asked about: a name that it lacks is refused, not answered by no rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attnrules.errors import UsageError, closest
from attnrules.queries.heads import FeatureId, refuse_unknown_feature, refuse_unknown_head
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

_step = Statements("attnrules.queries", "heads")
# Places of a question that say nothing one without the other.
_TOGETHER = (("feature", "layer"), ("feature", "head"), ("pos", "seq_id"), ("seq_id", "pos"))


def refuse_unknown(
    warehouse: Warehouse, question: str, given: Mapping[str, object], values: Mapping[str, Any]
) -> None:
    """Raise `UsageError` for a head, feature, method, token or position that the warehouse does not hold.

    `given` are the parameters that were set, `values` all of the question, None where one stands for any.
    """
    _refuse_halves(question, values)
    _refuse_places(warehouse, values)
    if "method" in given:
        _refuse_method(warehouse, question, str(given["method"]))
    for name in given.keys() & {"token", "query_token", "key_token"}:
        _refuse_token(warehouse, f"{question}: {name}", str(given[name]))
    _refuse_positions(warehouse, question, given)


def _refuse_halves(question: str, values: Mapping[str, Any]) -> None:
    for name, other in _TOGETHER:
        if values.get(name) is not None and other in values and values[other] is None:
            raise UsageError(f"{question}: {name}={values[name]} needs {other} too; add -p {other}=...")


def _refuse_places(warehouse: Warehouse, values: Mapping[str, Any]) -> None:
    layer, head, feature = (values.get(name) for name in ("layer", "head", "feature"))
    if layer is not None and head is not None and feature is not None:
        refuse_unknown_feature(warehouse, FeatureId(layer, head, feature))
    elif layer is not None or head is not None:
        refuse_unknown_head(warehouse, layer, head)
    if "other_head" in values:
        refuse_unknown_head(warehouse, layer, values["other_head"])


def _refuse_method(warehouse: Warehouse, question: str, method: str) -> None:
    known = [name for (name,) in warehouse.rows("SELECT method FROM methods ORDER BY method")]
    if method not in known:
        raise UsageError(f"{question}: method={method} is none of {', '.join(known)}{closest(method, known)}")


def _refuse_token(warehouse: Warehouse, parameter: str, token: str) -> None:
    near = [text for (text,) in warehouse.rows(_step("known_tokens"), {"token": token})]
    if token not in near:
        meant = f"; there is {' and '.join(map(repr, near))}" if near else ""
        raise UsageError(
            f"{parameter}={token!r}: the vocabulary has no such token, and spaces belong to it{meant}"
        )


def _refuse_positions(warehouse: Warehouse, question: str, given: Mapping[str, Any]) -> None:
    query, key = given.get("query_pos"), given.get("key_pos")
    if query is not None and key is not None and key > query:
        raise UsageError(
            f"{question}: key_pos={key} stands behind query_pos={query}; a head looks back alone"
        )
    asked = {
        name: given[name] for name in ("seq_id", "pos", "query_pos", "key_pos") if given.get(name) is not None
    }
    if not asked:
        return
    [(last_sequence, last_pos)] = warehouse.rows(_step("known_positions"))
    for name, value in asked.items():
        what, last = ("sequences", last_sequence) if name == "seq_id" else ("positions", last_pos)
        if last is None or value > last:
            held = "nothing; run `attnrules ingest`" if last is None else f"{what} 0 to {last}"
            raise UsageError(f"{question}: {name}={value}: this warehouse holds {held}")
