"""Files that a warehouse is opened from or made as: what may be one, and names that nobody else uses."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnrules.errors import AttnRulesError, WarehouseUnavailableError
from attnrules.warehouse.objects import Address

_KINDS = {
    stat.S_IFDIR: "is a folder; name a .duckdb file",
    stat.S_IFIFO: "is a FIFO, not a file; name a .duckdb file",
    stat.S_IFSOCK: "is a socket, not a file; name a .duckdb file",
    stat.S_IFCHR: "is a device, not a file; name a .duckdb file",
    stat.S_IFBLK: "is a device, not a file; name a .duckdb file",
}
# The DuckDB file of a lake, in its folder.
CATALOGUE = "catalogue.duckdb"
# The Parquet files of a lake, in its folder: of facts, and of results that are as large.
FACTS_FOLDER = "facts"
RESULTS_FOLDER = "results"
# What many processes are doing for a lake, in its folder.
TASKS = "tasks"
# Places that a path does not lead to.
_REMOTE = re.compile(r"([a-z][a-z0-9+]+):/")
# Of the final name, so that the temporary one is not too long where the final one is not.
_KEPT_OF_NAME = 40


def identity(path: Path) -> tuple[int, int] | None:
    """Return which file `path` leads to (device, inode), None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_lake(path: Path) -> bool:
    """Tell whether `path` is the folder of a lake."""
    # Not `Path.is_file`, which raises for a name that is too long.
    return os.path.isfile(path / CATALOGUE)  # noqa: PTH113


def may_become_lake(path: Path) -> bool:
    """Tell whether `path` is a folder with nothing in it but what a killed command left of a catalogue."""
    left = f".{CATALOGUE}."
    return path.is_dir() and all(found.name.startswith(left) for found in path.iterdir())


def is_there(path: Path) -> bool:
    """Tell whether there is anything at `path`, if only something that is no warehouse."""
    return path.exists() and not may_become_lake(path)


def database_of(path: Path) -> Path:
    """Return the DuckDB file of the warehouse at `path`, which is another one for a lake.

    Raises `WarehouseUnavailableError` unless there is one.
    """
    if is_lake(path):
        return path / CATALOGUE
    refuse_no_file(path)
    if path.name == CATALOGUE and (path.parent / FACTS_FOLDER).is_dir():
        raise WarehouseUnavailableError(f"{path}: is the catalogue of a lake; name its folder {path.parent}")
    return path


def refuse_no_file(path: Path) -> None:
    """Raise `WarehouseUnavailableError` unless `path` is an existing regular file."""
    _refuse_no_name(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise WarehouseUnavailableError(
            f"{path}: no such warehouse; make one with `attnrules ingest {path} ...` or `attnrules demo`"
        ) from error
    except (OSError, ValueError) as error:
        raise WarehouseUnavailableError(f"{path}: cannot be opened: {_reason(error)}") from error
    if not stat.S_ISREG(mode):
        raise WarehouseUnavailableError(f"{path}: {_KINDS.get(stat.S_IFMT(mode), 'is not a file')}")


def refuse_tasks(lake: Path) -> None:
    """Raise `AttnRulesError` for a lake with tasks that are not finished, which read what it has now."""
    if (lake / TASKS).exists():
        raise AttnRulesError(
            f"{lake}: holds unfinished tasks, which read its files; run their command again first, or remove"
            f" {lake / TASKS}"
        )


def share_files(lake: Path, other: Path) -> None:
    """Let the folder of another lake, which has none, have the files of `lake`.

    The folder of facts as it is; of results each file by itself, so that what is written and dropped beside
    them is none of `lake`.
    """
    root = lake.resolve()
    (other / FACTS_FOLDER).symlink_to(root / FACTS_FOLDER)
    for path in (root / RESULTS_FOLDER).rglob("*.parquet"):
        link = other / path.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def make_folder(path: Path) -> None:
    """Make the folder `path` where there is none.

    Raises `WarehouseUnavailableError` when that cannot be done, and for a folder that holds anything.
    """
    refuse_remote(path)
    if is_there(path):
        raise WarehouseUnavailableError(f"{path}: is not empty; name a folder that is, or one to be made")
    try:
        path.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise WarehouseUnavailableError(
            f"{path}: the folder {path.parent} does not exist; make it first"
        ) from error
    except (OSError, ValueError) as error:
        raise WarehouseUnavailableError(f"{path}: cannot be made: {_reason(error)}") from error


def refuse_no_place(path: Path) -> None:
    """Raise `WarehouseUnavailableError` unless a warehouse can be made as `path`."""
    _refuse_no_name(path)
    try:
        if os.path.lexists(path):
            refuse_no_file(path)
            raise WarehouseUnavailableError(f"{path}: already exists")
        if not path.parent.is_dir():
            raise WarehouseUnavailableError(f"{path}: the folder {path.parent} does not exist; make it first")
    except (OSError, ValueError) as error:
        raise WarehouseUnavailableError(f"{path}: cannot be made: {_reason(error)}") from error
    wal = write_ahead_log(path)
    if os.path.lexists(wal):
        raise WarehouseUnavailableError(
            f"{wal}: is left of a warehouse that was removed or renamed; rename it as that warehouse is now"
            " named, or remove it, then run this again"
        )


def _refuse_no_name(path: Path) -> None:
    if str(path).startswith(":"):
        raise WarehouseUnavailableError(f"{path}: a warehouse is a file; name one, such as gpt2.duckdb")
    if os.sep == "/" and "\\" in str(path.absolute()):
        raise WarehouseUnavailableError(
            f"{path}: DuckDB reads the backslash in its path as a slash; rename it"
        )
    refuse_remote(path)


def refuse_remote(path: Path) -> None:
    """Raise `WarehouseUnavailableError` for an address, such as one of S3."""
    if address := Address.read(path):
        raise WarehouseUnavailableError(
            f"{address}: a lake on S3 is read, and not written to where it is; fetch it with"
            f" `attnrules lake {address} DIR/`, run this on DIR/, and publish it with"
            f" `attnrules lake DIR/ {address}`"
        )
    if match := _REMOTE.match(str(path)):
        raise WarehouseUnavailableError(
            f"{path}: warehouses and lakes on {match[1]}:// are not supported; name a file or folder of this"
            " machine"
        )


def write_ahead_log(path: Path) -> Path:
    """Return where DuckDB keeps what it has committed to `path` and not yet moved into it."""
    return path.with_name(path.name + ".wal")


def refuse_log(path: Path, called: Path) -> None:
    """Raise `WarehouseUnavailableError` where a closed file lacks what DuckDB has committed to it.

    That stays in the log where it cannot be moved into the file, as on a full disk: by itself the file would
    hold less, or nothing. `called`: the name that a user knows.
    """
    if write_ahead_log(path).exists():
        raise WarehouseUnavailableError(
            f"{called}: what was written to it last could not be moved into the file; free some space on the"
            " disk and run the same command again"
        )


def unused_name_beside(path: Path) -> Path:
    """Return a hidden name in the folder of `path` that is random enough to be nobody's."""
    return path.with_name(f".{path.name[:_KEPT_OF_NAME]}.{secrets.token_hex(8)}")


@contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """Yield the name of a file to make; it becomes `path` when the block ends well, and is removed otherwise.

    Raises `WarehouseUnavailableError` when there is a file named `path` by then; that one is left as it is.
    """
    unfinished = unused_name_beside(path)
    try:
        yield unfinished
        refuse_log(unfinished, path)
        _name_exclusively(unfinished, path)
    except OSError as error:
        raise WarehouseUnavailableError(f"{path}: cannot be made: {_reason(error)}") from error
    finally:
        unfinished.unlink(missing_ok=True)
        write_ahead_log(unfinished).unlink(missing_ok=True)


def put_in_place(new: Path, path: Path, kept: Path | None) -> None:
    """Make `new` the file at `path`, and the one that was there `kept`; it is on the disk then.

    Raises `WarehouseUnavailableError` when that cannot be done or there is a file named `kept`; `path` is as
    it was then. With a file system that has links there is a file at `path` at every moment.
    """
    refuse_log(new, path)
    try:
        flush(new)
        if kept is not None:
            _name_exclusively(path, kept)
        try:
            new.replace(path)
        except BaseException:
            if kept is not None:
                _take_back(kept, path)
            raise
        flush(path.parent)
    except OSError as error:
        raise WarehouseUnavailableError(f"{path}: cannot be replaced: {_reason(error)}") from error


def _take_back(kept: Path, path: Path) -> None:
    if path.exists():
        kept.unlink()
    else:
        kept.replace(path)


def flush(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name_exclusively(unfinished: Path, path: Path) -> None:
    try:
        # A rename would replace what another process has made meanwhile; a link does not.
        os.link(unfinished, path)
    except FileExistsError as error:
        raise WarehouseUnavailableError(
            f"{path}: another process has made it meanwhile; wait for it to end, then run this again"
        ) from error
    except OSError:
        # A file system without links.
        with path.open("xb"):
            unfinished.replace(path)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
