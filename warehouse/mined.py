"""What was mined of a head, carried as Parquet files from a copy of a catalogue into the catalogue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from attnrules.warehouse import digests
from attnrules.warehouse.carried import replace_rows, unreadable, write_rows
from attnrules.warehouse.store import Warehouse

_OF_FEATURES = "layer = $layer AND head = $head AND feature = ANY($features)"
# In the folder: the files that keep the results of the head in a lake, table to names.
_FILES = "files.json"


def write_mined(warehouse: Warehouse, layer: int, head: int, features: Sequence[int], folder: Path) -> None:
    """Write all rows that were mined of these output features to `folder`, with their digests.

    `warehouse` is a lake beside it that nobody needs any more: files of results that it wrote are moved.
    """
    chosen = {"layer": layer, "head": head, "features": list(features)}
    for table in _carried_tables():
        write_rows(warehouse, table, _OF_FEATURES, chosen, folder)
    names = {table: _move_files(warehouse, table, layer, head, folder) for table in sorted(digests.RESULTS)}
    (folder / _FILES).write_text(json.dumps(names), "utf-8")


def _carried_tables() -> list[str]:
    return [*(table for table in digests.mined_tables() if table not in digests.RESULTS), "digests"]


def _move_files(warehouse: Warehouse, table: str, layer: int, head: int, folder: Path) -> list[str]:
    """Move the files of a head that are no links below `folder`; return the names of all of them."""
    names = []
    for path in warehouse.files_of(table, layer, head):
        names.append(str(path.relative_to(warehouse.path.resolve())))
        if not path.is_symlink():
            (folder / names[-1]).parent.mkdir(parents=True, exist_ok=True)
            path.rename(folder / names[-1])
    return names


def replace_mined(warehouse: Warehouse, layer: int, head: int, features: Sequence[int], folder: Path) -> None:
    """Store what `write_mined` wrote in place of all that was mined of these features, in one transaction.

    Raises `AttnRulesError` where a file is missing or damaged; nothing is stored then.
    """
    chosen = {"layer": layer, "head": head, "features": list(features)}
    with warehouse.transaction():
        for table in _carried_tables():
            replace_rows(warehouse, table, _OF_FEATURES, chosen, folder)
        for table, names in _files(folder).items():
            warehouse.adopt_results(table, layer, head, [folder.resolve() / name for name in names])


def _files(folder: Path) -> dict[str, list[str]]:
    path = folder / _FILES
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
