"""Records of json and text files, plain or compressed, one at a time and within limits.

A file that somebody else wrote may hold one endless line, brackets nested without end, or a gigabyte of
nothing in a megabyte of gzip. Here the memory is bounded by one record, whatever the file says.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from attnrules.errors import AttnRulesError

# Characters of one record: of a json value, a line, or a text file that is one document.
LARGEST_RECORD = 64_000_000
# A compressed file may expand so many times; small ones as they like.
LARGEST_EXPANSION = 200
_FREE_BYTES = 64 << 20
_CHUNK = 1 << 20
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SPACE = re.compile(r"[ \t\r\n]*")
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "a truth value",
    int: "a number",
    float: "a number",
}


def json_values(path: Path) -> Iterator[Any]:
    """Yield the values of a file: one a line, one after the other, or the elements of one array.

    Bytes that are not UTF-8 become lone surrogates (`broken_text` finds them). Raises `AttnRulesError` with
    the number of the record when one is malformed, too large or nested too deeply, and `OSError` when the
    file cannot be read.
    """
    with _text(path) as stream:
        yield from _JsonStream(stream).values()


def json_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the values of `json_values`, which are objects; raises `AttnRulesError` when one is not."""
    for number, value in enumerate(json_values(path), 1):
        if not isinstance(value, dict):
            raise AttnRulesError(f"record {number} is {kind(value)}, not an object")
        yield value


def text_documents(path: Path, *, by_line: bool) -> Iterator[str]:
    r"""Yield the one document that a text file is, or with `by_line` each of its lines.

    Lines end with \n or \r\n; in a document the latter become \n. Bytes that are not UTF-8 become lone
    surrogates. Raises `AttnRulesError` when a document or line is too large, and `OSError`.
    """
    with _text(path) as stream:
        if by_line:
            for number, line in enumerate(iter(lambda: stream.readline(LARGEST_RECORD + 2), ""), 1):
                text = line.removesuffix("\n").removesuffix("\r")
                if len(text) > LARGEST_RECORD:
                    raise AttnRulesError(f"line {number} is longer than {LARGEST_RECORD:,} characters")
                yield text
            return
        text = stream.read(LARGEST_RECORD + 1)
        if len(text) > LARGEST_RECORD:
            raise AttnRulesError(
                f"is one document of more than {LARGEST_RECORD:,} characters; split it, or read each line as"
                " a document with --lines"
            )
        yield text.replace("\r\n", "\n")


def broken_text(text: str) -> str | None:
    """Say what in a text is no character: a byte that is not UTF-8, or half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"is not UTF-8 (byte 0x{code - 0xDC00:02x} after {error.start:,} characters); convert it"
        return f"holds \\u{code:04x} after {error.start:,} characters, half of a character; repair it"
    return None


def kind(value: object) -> str:
    """Return what a json value is, in words."""
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def require_file(path: Path) -> None:
    """Refuse what is no regular file: reading a pipe or a device may wait or go on for ever."""
    if not path.is_file():
        what = (
            "is a pipe or a device, not a file; write it to a file first" if path.exists() else "no such file"
        )
        raise AttnRulesError(what)


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOWrapper]:
    require_file(path)
    with path.open("rb") as file:
        compression = next((c for magic, c in _COMPRESSIONS.items() if file.peek(4).startswith(magic)), None)
        plain: Any = file
        if compression is not None:
            plain = io.BufferedReader(_Expanding(file, compression, path.stat().st_size), _CHUNK)
        yield io.TextIOWrapper(plain, "utf-8-sig", errors="surrogateescape", newline="\n")


class _Expanding(io.RawIOBase):
    """The bytes of a compressed file of `n_bytes`; refuses to expand without end."""

    def __init__(self, file: Any, compression: str, n_bytes: int) -> None:
        self._stream = pa.CompressedInputStream(file, compression)
        self._limit = max(_FREE_BYTES, LARGEST_EXPANSION * n_bytes)
        self._n_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        self._n_read += len(content)
        if self._n_read > self._limit:
            raise AttnRulesError(
                f"expands to more than {LARGEST_EXPANSION} times its size; unpack it first if that is right"
            )
        return len(content)


class _JsonStream:
    """The values of a text stream, of which a little more than one record is held at a time."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._decoder = json.JSONDecoder()
        self._text, self._at, self._number = "", 0, 0

    def values(self) -> Iterator[Any]:
        in_array = self._next_character() == "["
        self._at += in_array
        while (character := self._next_character()) and not (in_array and character == "]"):
            if in_array and character == "," and self._number:
                self._at += 1
                self._next_character()
            self._number += 1
            yield self._value()
        if in_array and not character:
            raise AttnRulesError("its array is not closed; is the file cut off?")
        self._at += in_array
        if self._next_character():
            raise AttnRulesError(f"goes on after its array of {self._number:,} records")

    def _value(self) -> Any:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise AttnRulesError(f"record {self._number} is nested too deeply") from None
            except json.JSONDecodeError as error:
                self._refuse_longer_than(len(self._text) - self._at)
                if not self._may_be_cut_off(error) or not self._fill():
                    raise AttnRulesError(
                        f"cannot be read: record {self._number} is not JSON: {error.msg}"
                    ) from None
                continue
            except ValueError:
                raise AttnRulesError(f"record {self._number} holds a number of too many digits") from None
            self._refuse_longer_than(end - self._at)
            self._at = end
            return value

    def _refuse_longer_than(self, n_characters: int) -> None:
        if n_characters > LARGEST_RECORD:
            raise AttnRulesError(f"record {self._number} is longer than {LARGEST_RECORD:,} characters")

    def _may_be_cut_off(self, error: json.JSONDecodeError) -> bool:
        # The longest thing that is understood only when it is whole, but a string: a surrogate pair, escaped.
        return error.msg.startswith("Unterminated") or error.pos >= len(self._text) - 12

    def _next_character(self) -> str:
        """Go to the next character that is no space and return it, an empty string at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def _fill(self) -> bool:
        """Read as much again as is left, so that a long record is parsed a few times only."""
        rest = self._text[self._at :]
        more = self._stream.read(max(_CHUNK, min(len(rest), LARGEST_RECORD - len(rest))))
        self._text, self._at = rest + more, 0
        return bool(more)
