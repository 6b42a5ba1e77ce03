"""A part of a warehouse: the rows of some layers and heads, and all rows that belong to none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attnrules import sql
from attnrules.errors import UsageError
from attnrules.warehouse import catalogue, digests
from attnrules.warehouse.store import Warehouse


@dataclass(frozen=True)
class Part:
    """Which layers, and which heads of these layers; None for all."""

    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.layers is None and self.heads is None

    def of(self, table: str, source: str) -> str:
        """Return what stands in a FROM for the rows of this part in `source`, which has a table's columns."""
        columns = catalogue.columns_of(table)
        tests = [
            # Rows of input features have no head, and some digests have no layer.
            f"({name} IN ({', '.join(map(str, numbers))}) OR {name} IS NULL)"
            for name, numbers in (("layer", self.layers), ("head", self.heads))
            if numbers is not None and name in columns
        ]
        return f"(SELECT * FROM {source} WHERE {' AND '.join(tests)})" if tests else source

    def holds(self, place: Mapping[str, int]) -> bool:
        """Tell whether rows of this layer and head, as far as they have one, are in the part."""
        return all(
            numbers is None or name not in place or place[name] in numbers
            for name, numbers in (("layer", self.layers), ("head", self.heads))
        )

    def refuse_missing(self, warehouse: Warehouse) -> None:
        """Raise `UsageError` for a layer or head that the warehouse lacks.

        Also for heads of a layer that an SAE reads as a whole, whose features need all of them.
        """
        held = {
            (layer, head)
            for layer, head in warehouse.rows("SELECT layer, head FROM heads")
            if self.layers is None or layer in self.layers
        }
        for option, asked, known in (
            ("--layers", self.layers, {layer for layer, _ in held}),
            ("--heads", self.heads, {head for _, head in held}),
        ):
            for number in asked or ():
                if number not in known:
                    raise UsageError(f"{option} {number}: {warehouse.path} does not hold it")
        if self.heads is not None:
            self._refuse_whole_layers(warehouse)

    def _refuse_whole_layers(self, warehouse: Warehouse) -> None:
        query = "SELECT DISTINCT layer FROM saes WHERE role = 'output' AND head = -1 ORDER BY layer"
        for (layer,) in warehouse.rows(query):
            if self.layers is None or layer in self.layers:
                raise UsageError(
                    f"--heads: layer {layer} has an SAE over all of its heads; leave it out by --layers"
                )

    def restrict_ledger(self, warehouse: Warehouse) -> None:
        """Let the ledger of a copy, which has this part alone, say what is there, in a transaction."""
        chosen = {"layers": self.layers, "heads": self.heads}
        given = {name: numbers and [str(number) for number in numbers] for name, numbers in chosen.items()}
        with warehouse.transaction():
            warehouse.execute(sql.ledger_statement("restrict_chunks"), given)
            digests.restamp(warehouse, "chunks")


WHOLE = Part()
