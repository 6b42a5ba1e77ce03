"""Statements kept in `.sql` files: one loader, and what each says of the tables it touches.

A file holds one statement. The comment at its top may say `-- Reads:`, `-- Writes:` and `-- Makes:`, each
followed by names of tables, views or temporary tables, and goes on in lines that begin with `--  ` and two
more spaces. docs/dataflow.md is drawn from these lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable


@dataclass(frozen=True)
class Statement:
    """One SQL statement that has a name.

    Arguments:
        name: the folder and the file, such as `evaluation/make_lists`.
        text: the SQL.
        reads: tables, views and temporary tables that it reads. writes: tables that it changes.
        makes: the temporary table that it makes anew, None for none.
    """

    name: str
    text: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    makes: str | None = None


class Statements:
    """The statements of one folder of a package: called with a name it returns one `Statement`."""

    def __init__(self, package: str, folder: str) -> None:
        self._package = package
        self._folder = folder

    def __call__(self, name: str) -> Statement:
        """Return the statement of the file `name`.sql; raises `FileNotFoundError` where there is none."""
        return _loaded(self._package, self._folder, name)

    def all(self) -> list[Statement]:
        """Return every statement of the folder, in the order of their names."""
        return [self(name) for name in _names(self._package, self._folder)]


@cache
def _folder(package: str, folder: str) -> Traversable:
    # Looked up once: for the 80 definitions that opening a file compares, it took longer than reading them.
    return files(package) / folder


@cache
def _names(package: str, folder: str) -> list[str]:
    found = (file.name for file in _folder(package, folder).iterdir())
    return sorted(name.removesuffix(".sql") for name in found if name.endswith(".sql"))


@cache
def _loaded(package: str, folder: str, name: str) -> Statement:
    return parsed(f"{folder}/{name}", (_folder(package, folder) / f"{name}.sql").read_text("utf-8"))


def parsed(name: str, text: str) -> Statement:
    """Return the statement `text`, with what its comment says of tables."""
    comment = re.match(r"(?:--.*\n)*", text)
    lines = re.sub(r"\n--   +", " ", comment[0] if comment else "")
    said = {
        word: tuple(re.split(r",\s*", names.strip()))
        for word, names in re.findall(r"(?m)^-- (Reads|Writes|Makes): (.+)$", lines)
    }
    makes = said.get("Makes", (None,))
    return Statement(name, text, said.get("Reads", ()), said.get("Writes", ()), makes[0])
