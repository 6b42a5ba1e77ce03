"""One head on one card: what it attends to, and which of its features rules predict best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attnrules.errors import UsageError
from attnrules.queries.card.gathering import dictionaries
from attnrules.queries.heads import HeadId

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
    rows = dictionaries(warehouse, "head", at)
    if not rows:
        stored = warehouse.rows("SELECT layer, head FROM heads ORDER BY layer, head")
        names = ", ".join(f"L{layer}H{number}" for layer, number in stored)
        raise UsageError(f"{head}: not in this warehouse, which holds {names}")
    return HeadCard(
        head=rows[0],
        roles=dictionaries(warehouse, "head_roles", at),
        distances=dictionaries(warehouse, "head_distances", at),
        keys=dictionaries(warehouse, "head_keys", at),
        features=dictionaries(warehouse, "head_features", {**at, "limit": n_features}),
    )
