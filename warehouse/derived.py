"""What follows from the facts of a layer, carried from a copy of a catalogue into the catalogue."""

from __future__ import annotations

from pathlib import Path

from attnrules.warehouse import digests
from attnrules.warehouse.carried import replace_rows, write_rows
from attnrules.warehouse.store import Warehouse

_OF_LAYER = "layer = $layer"
_DIGESTS = f"{_OF_LAYER} AND table_name = ANY($tables)"
_TABLES = [*digests.DERIVED, "rule_right_sides"]


def write_derived(warehouse: Warehouse, layer: int, folder: Path) -> None:
    """Write the rows of a layer of all tables that `Warehouse.refresh_layer` writes to, with their digests.

    Whole rows: what a table holds besides is what it held when the copy was made.
    """
    for table in _TABLES:
        write_rows(warehouse, table, _OF_LAYER, {"layer": layer}, folder)
    write_rows(warehouse, "digests", _DIGESTS, {"layer": layer, "tables": _TABLES}, folder)


def replace_derived(warehouse: Warehouse, layer: int, folder: Path) -> None:
    """Store what `write_derived` wrote in place of the rows of the layer; call it in a transaction.

    Nothing else may have been written to the layer since the copy was made. Raises `AttnRulesError` where a
    file is missing or damaged.
    """
    for table in _TABLES:
        replace_rows(warehouse, table, _OF_LAYER, {"layer": layer}, folder)
    replace_rows(warehouse, "digests", _DIGESTS, {"layer": layer, "tables": _TABLES}, folder)
