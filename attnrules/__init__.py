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
    from attnrules.api import RuleWarehouse, ingest_into

__version__ = "0.1.0"
__all__ = [
    "AttnRulesError",
    "RuleWarehouse",
    "UsageError",
    "WarehouseUnavailableError",
    "__version__",
    "ingest_into",
    "open",
]

# In a checkout the other rooms lie beside this folder: let pytest, mypy and `python -m attnrules`
# find them without an install.
_checkout = Path(__file__).parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "warehouse").is_dir():
    __path__.append(str(_checkout))


def open(path: str | Path, *, writable: bool = False, allow_files: bool = False) -> RuleWarehouse:  # noqa: A001
    """Open the warehouse at `path`, read-only unless `writable`.

    SQL reaches nothing outside the file and changes no setting, so that a file from somebody else can be
    opened without harm. `allow_files=True` lets SQL read and write other files, such as Parquet.

    Raises `WarehouseUnavailableError` when the file is missing, locked, not a DuckDB database or of
    another schema version.
    """
    from attnrules.api import RuleWarehouse

    return RuleWarehouse.open(Path(path), writable=writable, allow_files=allow_files)


def __getattr__(name: str) -> object:
    # What needs duckdb and numpy is imported when it is used: `attnrules --help` answers at once.
    if name in ("RuleWarehouse", "ingest_into"):
        from attnrules import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
