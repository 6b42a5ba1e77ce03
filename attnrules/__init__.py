"""Rules for what an attention head computes, in a DuckDB warehouse.

The rooms of the project are folders at the top of the checkout and subpackages here:
`attnrules.ingest`, `attnrules.warehouse`, `attnrules.sql`, `attnrules.queries`. This room holds what
a user touches (the command line, the Python API, the demo) and no arithmetic.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnrules.errors import AttnRulesError, UsageError, WarehouseUnavailableError

if TYPE_CHECKING:
    from attnrules.api import RuleWarehouse

__version__ = "0.1.0"
__all__ = ["AttnRulesError", "UsageError", "WarehouseUnavailableError", "__version__", "open"]

# In a checkout the other rooms lie beside this folder: let pytest, mypy and `python -m attnrules`
# find them without an install.
_checkout = Path(__file__).parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "warehouse").is_dir():
    __path__.append(str(_checkout))


def open(path: str | Path, *, writable: bool = False) -> RuleWarehouse:  # noqa: A001
    """Open the warehouse at `path`, read-only unless `writable`.

    Raises `WarehouseUnavailableError` when the file is missing, locked, not a DuckDB database or of
    another schema version.
    """
    from attnrules.api import RuleWarehouse

    return RuleWarehouse.open(Path(path), writable=writable)
