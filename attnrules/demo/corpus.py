"""The demo corpus: the prose of CPython's own standard library, extracted at run time.

What lives here: reading the running interpreter's `pydoc_data.topics` and standard-library
sources into documents, as `help()` would print them. Standard library only: nothing here may
import torch, duckdb or any other third-party package.

Nothing is shipped or downloaded. Other CPython versions hold slightly different text, so exact
counts differ from one version to the next.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HELD_OUT_SHARE = 0.1
"""Share of the documents whose source name hashes into the held-out part."""

SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "idlelib",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)

# Shorter paragraphs ("Return None.", a bare signature) recur by nature and leak nothing.
_REPEAT_MIN_CHARS = 60
# Documents shorter than this say nothing that a row of tokens could hold.
_DOCUMENT_MIN_CHARS = 200
_COMMENT_MIN_LINES = 2


@dataclass(frozen=True)
class Document:
    """One document of the corpus.

    Args:
        source: where the text comes from, such as `Lib/json/encoder.py` or `topic:lambda`.
        text: the prose, paragraphs separated by blank lines.
        held_out: True for the part that no training ever saw.
    """

    source: str
    text: str
    held_out: bool


def iter_documents() -> Iterator[Document]:
    """Yield every document: the help topics by name, then the modules by relative path.

    A paragraph that an earlier document already holds is dropped, so that no held-out document
    repeats a training one.
    """
    seen: set[str] = set()
    for source, paragraphs in _raw_documents():
        text = "\n\n".join(_unseen(paragraphs, seen))
        if len(text) >= _DOCUMENT_MIN_CHARS:
            yield Document(source, text, is_held_out(source))


def write_corpus(path: Path) -> int:
    """Write all documents to `path` as JSON lines {"text", "source"}; return how many.

    The order is that of a hash of the source, so that any prefix mixes topics and packages.
    """
    documents = sorted(iter_documents(), key=lambda document: _hash(document.source))
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps({"text": document.text, "source": document.source}) + "\n")
    return len(documents)


def is_held_out(source: str) -> bool:
    """Say whether a source belongs to the held-out part; depends on its name alone."""
    return _hash(source) / 2**64 < HELD_OUT_SHARE


def _hash(source: str) -> int:
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big")


@dataclass(frozen=True)
class _Paragraph:
    text: str
    header: str = ""


def _unseen(paragraphs: Iterable[_Paragraph], seen: set[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        # Topics and docstrings repeat each other with other headers, indents and line breaks.
        key = " ".join(paragraph.text.split())
        if len(key) >= _REPEAT_MIN_CHARS:
            if key in seen:
                continue
            seen.add(key)
        yield f"{paragraph.header}{paragraph.text}"


def _raw_documents() -> Iterator[tuple[str, list[_Paragraph]]]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield f"topic:{name}", _paragraphs(topics[name])
    root = Path(sysconfig.get_paths()["stdlib"])
    for relative in sorted(module_paths(root)):
        yield f"Lib/{relative}", _module_paragraphs(root / relative, relative)


def module_paths(root: Path) -> Iterator[str]:
    """Yield the modules below a folder, relative to it, less those that are not read."""
    for path in root.rglob("*.py"):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS.isdisjoint(relative.parts[:-1]):
            yield relative.as_posix()


def _paragraphs(text: str, header: str = "") -> list[_Paragraph]:
    """Split `text` at its blank lines; the header sticks to the first paragraph."""
    lines = "\n".join(line.rstrip() for line in text.expandtabs().splitlines())
    parts = [part.strip("\n") for part in re.split(r"\n{2,}", lines) if part.strip()]
    return [_Paragraph(part, "" if n else header) for n, part in enumerate(parts)]


def _module_paragraphs(path: Path, relative: str) -> list[_Paragraph]:
    try:
        code = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return []
    pieces = sorted([*docstrings(tree), *comments(code, string_lines(tree))])
    if not pieces:
        return []
    title = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    prose = [part for _, header, text in pieces for part in _paragraphs(text, header)]
    return [_Paragraph(title), *prose]


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield (line, header, docstring) of the module and of all its documented definitions."""
    if docstring := ast.get_docstring(tree):
        yield 0, "", docstring
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if docstring := ast.get_docstring(node):
            yield node.lineno, _header(node), docstring


def _header(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases) or "object"
        return f"class {node.name}({bases})\n"
    return f"{node.name}({ast.unparse(node.args)})\n"


def string_lines(tree: ast.Module) -> set[int]:
    """Line numbers inside string literals that span lines, where `#` starts no comment."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.end_lineno is not None
        for line in range(node.lineno + 1, node.end_lineno + 1)
    }


def comments(code: str, string_lines: set[int]) -> Iterator[tuple[int, str, str]]:
    """Yield (line, "", text) of the comment blocks of several lines that are prose, not code."""
    block: list[str] = []
    for number, line in enumerate([*code.splitlines(), ""], start=1):
        stripped = line.strip()
        if stripped.startswith("#") and number not in string_lines:
            block.append(stripped.lstrip("#!").removeprefix(" "))
            continue
        if len(block) >= _COMMENT_MIN_LINES and _is_prose(block):
            yield number - len(block), "", "\n".join(block)
        block = []


def _is_prose(lines: list[str]) -> bool:
    text = " ".join(lines)
    letters = sum(character.isalpha() or character.isspace() for character in text)
    return letters > 0.8 * len(text) and len(text) > 100
