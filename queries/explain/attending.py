"""What a token of a text attends to, and why: the arcs and the parts of its attention logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attnrules.errors import UsageError
from attnrules.queries.explain.explaining import Facts, give_text
from attnrules.queries.heads import FeatureId, refuse_unknown_feature
from attnrules.sql import Statements
from attnrules.warehouse.arrow import arrow_table
from attnrules.warehouse.inspect import dictionaries

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "explain")
Row = dict[str, Any]


@dataclass(frozen=True)
class Attended:
    """What a token attends to through one head.

    Arguments:
        layer, head: the head. pos: of the token, BOS being 0. sources: tokens up to it, with the attention.
        reasons: of the tokens that get most, the largest parts of the logit (method.md section 15.1).
    """

    layer: int
    head: int
    pos: int
    sources: list[Row]
    reasons: list[Row]


def main_head(warehouse: Warehouse, feature: FeatureId) -> int:
    """Return the head that a feature reads most; raises `UsageError` for a feature that is not there."""
    refuse_unknown_feature(warehouse, feature)
    return int(warehouse.value(step("main_head"), asdict(feature)))


def attended(
    warehouse: Warehouse, tokens: Sequence[int], facts: Facts, layer: int, head: int, pos: int
) -> Attended:
    """Return what the token at a position attends to.

    Arguments:
        tokens: ids of the text, without BOS. facts: of `Laboratory.facts`, with the attention of the head.

    Raises `UsageError` for a position that the text does not have, `AttnRulesError` where it is not stored
    how positions act on the head's attention.
    """
    if not 0 < pos <= len(tokens):
        raise UsageError(f"position {pos}: the text has tokens 1 to {len(tokens)}")
    at = {"layer": layer, "head": head, "pos": pos}
    with warehouse.session():
        give_text(warehouse, tokens, facts)
        for name, table in (("text_attention", "attention_sources"), ("text_scales", "token_scales")):
            warehouse.execute(step(f"make_{name}"))
            warehouse.append(name, arrow_table(dict(facts[table])))
        sources = _rows(warehouse, "text_sources", {"pos": pos})
        return Attended(**at, sources=sources, reasons=_rows(warehouse, "text_reasons", at))


def _rows(warehouse: Warehouse, name: str, parameters: dict[str, int]) -> list[Row]:
    return dictionaries(warehouse, step(name), parameters)
