"""What a user is told when DuckDB fails: one line, in the error family of the project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from attnrules.errors import AttnRulesError

# How DuckDB speaks of a Parquet file that is gone, or is none any more.
_LOST_FILE = re.compile(
    r"(No files found that match the pattern|No magic bytes found at end of file|Failed to read file"
    r"|Invalid Input Error: File) ['\"](/[^'\"]+\.parquet)['\"]"
)
_LONGEST = 1000
# Libraries whose errors are about the rows or the file, not about the program.
_READERS = ("duckdb", "_duckdb", "polars", "pyarrow", "pyo3_runtime")


@contextmanager
def explained(path: Path, *, writing: bool = False) -> Iterator[None]:
    """Turn a failure of DuckDB, and of what its rows are handed to, into an `AttnRulesError`."""
    try:
        yield
    except BaseException as error:
        if not _is_explicable(error):
            raise
        raise (write_error if writing else query_error)(path, error) from error


def query_error(path: Path, error: BaseException) -> AttnRulesError:
    """Return what to tell a user about a query on `path` that failed, with DuckDB's own hints."""
    common = _common_error(path, error)
    return common or AttnRulesError(f"query failed: {gist(error)}")


def write_error(path: Path, error: BaseException) -> AttnRulesError:
    """Return what to tell a user about a failure of DuckDB to write `path`."""
    message = gist(error)
    if "No space left" in message or "could not write" in message.lower():
        return AttnRulesError(
            f"{path}: the disk is full ({message}); free some space and run the same command again,"
            " what was committed is intact"
        )
    if "read-only" in message:
        return AttnRulesError(f"{path}: opened read-only, cannot be written")
    return _common_error(path, error) or AttnRulesError(f"{path}: {message}")


def gist(error: BaseException) -> str:
    """Return the message of an error as one line: hints are kept, the quoted query is not.

    DuckDB sets its hints below the first line and the query, which the user knows, below an empty one.
    """
    text = str(error).strip() or type(error).__name__
    line = " ".join(text.split("\n\nLINE ")[0].split("\n\nStack Trace")[0].split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def _common_error(path: Path, error: BaseException) -> AttnRulesError | None:
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
        return AttnRulesError(
            f"{path}: not enough memory for this ({gist(error)[:200]}); ask for less at once or let it use"
            " more memory"
        )
    if match := _LOST_FILE.search(str(error)):
        is_missing = match[1].startswith("No files found")
        return AttnRulesError(
            f"{path}: the file {match[2]} is {'missing' if is_missing else 'damaged'}; restore it from a copy"
            " (`attnrules check` tells what else is)"
        )
    if isinstance(error, duckdb.ConnectionException) and "closed" in str(error):
        return AttnRulesError(f"{path}: this handle was closed; open the warehouse again")
    return None


def _is_explicable(error: BaseException) -> bool:
    if isinstance(error, duckdb.Error | MemoryError | OverflowError | UnicodeError):
        return True
    module = type(error).__module__.split(".")[0]
    # What cannot be brought into Python, such as the year 10000, ends as one of Python's own.
    return module in _READERS or type(error) in (RuntimeError, ValueError)
