"""What reaches a person: text without control characters, on streams that may be narrow, full or gone.

Tokens, descriptions, paths and arguments come from strangers. Raw, they could move the cursor, set the
title of the window, reverse the line, or forge a line of ours. Everything that a command says goes
through `tell` (stdout) or `say` (stderr), which show such characters as escapes. Data in a machine's
format goes through `write_bytes`, as it is.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from attnrules.errors import AttnRulesError

# Control and format characters (C0, C1, bidi, zero width), line separators, lone surrogates.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_SIGNS = {"\n": "⏎", "\t": "⇥"}


class ReaderGoneError(Exception):
    """Whoever read stdout has closed it, as `| head` does: nothing is left to say, and nothing failed."""


def visible(text: str) -> str:
    r"""Return text on one line with its control and format characters shown: ⏎, ⇥, `\x1b`, `\u202e`."""
    return replace_hidden(text, lambda character: _SIGNS.get(character) or _escape(character))


def replace_hidden(text: str, shown: Callable[[str], str]) -> str:
    """Return text with every control, format and separator character replaced by what `shown` returns."""
    if text.isprintable():
        return text
    return "".join(shown(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def tell(*lines: str) -> None:
    """Print lines on stdout, each made `visible`.

    Raises `ReaderGoneError` when the reader has gone and `AttnRulesError` when stdout is closed or full.
    """
    write_text("".join(f"{visible(line)}\n" for line in lines))


def say(line: str) -> None:
    """Print a line on stderr, made `visible`; work goes on where nobody can read it."""
    with suppress(OSError, ValueError):
        print(visible(line), file=sys.stderr, flush=True)  # noqa: T201


def write_text(text: str) -> None:
    """Write text to stdout as it stands; raises as `tell` does."""
    with _stdout() as stream:
        stream.write(text)
        stream.flush()


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout; raises as `tell` does."""
    with _stdout() as stream:
        stream.flush()
        stream.buffer.write(data)  # type: ignore[attr-defined]
        stream.buffer.flush()  # type: ignore[attr-defined]


def on_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def prepare_streams() -> None:
    """Let no character end in an error where the terminal's encoding lacks it: it is shown as an escape."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def reserve_descriptors() -> None:
    """Keep the numbers of closed standard streams from going to files, which stray prints would spoil."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def discard_stdout() -> None:
    """Send what is still buffered for stdout nowhere, since nobody reads it."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _stdout() -> Iterator[IO[str]]:
    if sys.stdout is None or sys.stdout.closed:
        raise AttnRulesError("standard output is closed; redirect it to a file or a pipe")
    try:
        yield sys.stdout
    except BrokenPipeError as error:
        raise ReaderGoneError from error
    except OSError as error:
        # What could not be written stays in the buffer, and Python would try again on exit.
        discard_stdout()
        raise AttnRulesError(
            f"standard output cannot be written: {error.strerror}; what was written is not complete"
        ) from error
