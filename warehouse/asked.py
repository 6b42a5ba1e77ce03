"""What is told of a statement that runs: a line of the log, and, when it fails, what it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from attnrules.errors import AttnRulesError
from attnrules.sql import Statement

# SQL of a user, or a statement of a `.sql` file.
Query = str | Statement

log = logging.getLogger("attnrules.statements")

_LONGEST = 60


@dataclass(frozen=True)
class Asked:
    """A query and what fills its places."""

    query: Query
    parameters: Mapping[str, object] | None = None

    @property
    def text(self) -> str:
        """The SQL."""
        return self.query.text if isinstance(self.query, Statement) else self.query

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Let an `AttnRulesError` of the block name the statement; its note holds the SQL and the types."""
        try:
            yield
        except AttnRulesError as error:
            if isinstance(self.query, Statement):
                error.args = (f"{error} (step {self.query.name})",)
            types = ", ".join(f"{name}: {_type(value)}" for name, value in (self.parameters or {}).items())
            error.add_note(f"SQL:\n{self.text.strip()}\nparameters: {types or 'none'}")
            raise

    def log(self, result: object, seconds: float) -> None:
        """Log how many rows there were and how long it took: steps as INFO, other SQL as DEBUG."""
        if isinstance(self.query, Statement):
            level, name = logging.INFO, self.query.name
        else:
            level, name = logging.DEBUG, _beginning(self.query)
        if log.isEnabledFor(level):
            n_rows = _n_rows(result)
            rows = "" if n_rows is None else f"{n_rows:,} row{'s'[: n_rows != 1]}, "
            log.log(level, "%s: %s%.3f s", name, rows, seconds, extra={"asked": self})


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def _type(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"list of {len(value)}" + (f" {_type(value[0])}" if value else "")
    return type(value).__name__


def _n_rows(result: object) -> int | None:
    """Return how many rows were fetched, or the count with which a statement answers; None for neither.

    The length of a relation is never asked for, since that would run its query.
    """
    if isinstance(result, int):
        return result
    if isinstance(result, dict):
        return len(next(iter(result.values()), ()))
    if isinstance(result, list):
        return len(result)
    # Of an Arrow table, of a polars frame.
    n_rows = getattr(result, "num_rows", getattr(result, "height", None))
    return n_rows if isinstance(n_rows, int) else None
