"""A lake on S3 as a folder of this machine, which commands that read are given in its place.

    CACHE/s3/BUCKET-<hash of the address>/catalogue-<random>/    a lake, as it was published under this name

DuckDB reads files of this machine. So a lake is fetched whole when it is first read, and of one that was
published again only what is new: files that an earlier one has are linked. A folder gets its name when all
of it is there, so that whoever is killed leaves it whole or not at all. Earlier ones stay, as somebody may
read them, or have written to them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from attnrules.errors import AttnRulesError
from attnrules.warehouse import files, remote
from attnrules.warehouse.objects import Address

log = logging.getLogger("attnrules.mirror")

# A bucket's name as the beginning of a folder's.
_NAME = re.compile(r"[^\w.-]")


def mirror_of(address: Address) -> Path:
    """Return the folder of the lake at an address as it is now, fetched where it is not there yet.

    It lies below `ATTNRULES_CACHE`, or attnrules/ in the user's cache folder. What is fetched is logged as a
    warning, since it may take long. Raises `WarehouseUnavailableError` where there is no lake or it cannot be
    reached, `AttnRulesError` where the cache cannot be written.
    """
    catalogue = remote.published(address)
    root = _cache() / "s3" / f"{_NAME.sub('_', address.bucket)}-{_hash(str(address))}"
    folder = root / catalogue.removesuffix(".duckdb")
    if not folder.is_dir():
        _make(root)
        _fetch(address, catalogue, folder, list(_earlier(root)))
    return folder


def _fetch(address: Address, catalogue: str, folder: Path, earlier: list[Path]) -> None:
    def say(words: str) -> None:
        log.warning("%s: %s", address, words)

    try:
        remote.fetch_whole(address, catalogue, folder, say, earlier)
    except AttnRulesError:
        # Another process may have fetched the same.
        if not folder.is_dir():
            raise


def _cache() -> Path:
    named = os.environ.get("ATTNRULES_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attnrules"


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AttnRulesError(
            f"{root}: cannot be made: {error.strerror or error}; name a folder for what is fetched as"
            " ATTNRULES_CACHE"
        ) from error


def _earlier(root: Path) -> Iterator[Path]:
    """Yield the lakes that were fetched from the same address before."""
    for path in sorted(root.iterdir()):
        if not path.name.startswith(".") and files.is_lake(path):
            yield path


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
