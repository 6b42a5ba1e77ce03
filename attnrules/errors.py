"""The one family of errors: each says what was wrong, with what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3
EXIT_INTERRUPTED = 130


class AttnRulesError(Exception):
    """A failure the user can act on; `str(error)` is one line that names the remedy."""

    exit_code = EXIT_FAILED


class UsageError(AttnRulesError):
    """The request itself does not make sense (an unknown name, a layer out of range)."""

    exit_code = EXIT_USAGE


class WarehouseUnavailableError(AttnRulesError):
    """The warehouse file cannot be opened: missing, locked, not a warehouse, another version."""

    exit_code = EXIT_UNAVAILABLE


def refuse_below(least: int, name: str, value: object) -> None:
    """Raise `UsageError` unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name}{value}: must be a whole number of at least {least}")


def refuse_no_text(value: object, what: str) -> None:
    """Raise `UsageError` unless `value`, which is to be `what`, is a text."""
    if not isinstance(value, str):
        raise UsageError(f"{value!r}: is no {what}, which is a text")


def one_line(error: BaseException) -> str:
    """Return the start of an error's message on one line, or its type where it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def closest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the name that an unknown word comes close to, nothing for none."""
    found = get_close_matches(word.lower(), list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""
