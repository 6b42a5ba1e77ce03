"""One head on one card: what it attends to, and which of its features rules predict best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attnrules.queries.card.gathering import dictionaries
from attnrules.queries.heads import HeadId, refuse_unknown_head

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse


@dataclass(frozen=True)
class HeadCard:
    """What `attnrules show` shows of a head; every list holds rows as dictionaries.

    Arguments:
        head: layer, head, how much of its attention is stored, and how many of its features fire.
        roles: the rows of `head_roles`, clearest first, with what the probe found.
        distances: the distances that get most of its attention beside BOS, with their shares.
        keys: the tokens that get most of it.
        features: the output features that rules predict best on all test positions; none before mining.
    """

    head: dict[str, Any]
    roles: list[dict[str, Any]]
    distances: list[dict[str, Any]]
    keys: list[dict[str, Any]]
    features: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return asdict(self)


def head_card(warehouse: Warehouse, head: HeadId, *, n_features: int = 5) -> HeadCard:
    """Gather the card of a head; raises `UsageError` when the warehouse does not hold it."""
    at = {"layer": head.layer, "head": head.head}
    refuse_unknown_head(warehouse, head.layer, head.head)
    return HeadCard(
        head=dictionaries(warehouse, "head", at)[0],
        roles=dictionaries(warehouse, "head_roles", at),
        distances=dictionaries(warehouse, "head_distances", at),
        keys=dictionaries(warehouse, "head_keys", at),
        features=dictionaries(warehouse, "head_features", {**at, "limit": n_features}),
    )
