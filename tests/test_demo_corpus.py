"""The demo corpus: what is in it, and that it comes out the same every time."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

import pytest

from attnrules.demo.corpus import (
    Document,
    comments,
    docstrings,
    is_held_out,
    iter_documents,
    module_paths,
    string_lines,
    write_corpus,
)

MODULE = '''\
"""A module.

    indented
"""
TEXT = """
# not a comment, though it looks like one in every respect that a line of text has
# and here is its second line, which is long enough to be kept if it were a comment
"""

# This comment explains in two lines of plain prose why the function below is written
# as it is; it is long enough to count as prose.
class Encoder(Base, metaclass=Meta):
    """Encode things."""

    # x = a[0] + b[1]; y = (c[2] * d[3]) ** {e: f}[7]; z = g(h(i(j(1, 2, 3), 4), 5), 6)
    # x = a[0] + b[1]; y = (c[2] * d[3]) ** {e: f}[7]; z = g(h(i(j(1, 2, 3), 4), 5), 6)
    def dumps(self, obj, *, skipkeys: bool = False) -> str:
        """Return a string."""

    def undocumented(self): ...
'''


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return list(iter_documents())


def test_documents_hold_text_and_known_sources(documents: list[Document]) -> None:
    texts = {document.source: document.text for document in documents}
    assert len(texts) == len(documents) > 200
    assert all(len(text) >= 200 for text in texts.values())
    assert "lambda" in texts["topic:lambda"].lower()
    assert texts["Lib/json/encoder.py"].startswith("json.encoder\n\n")
    assert "\nclass JSONEncoder(object)\n" in texts["Lib/json/encoder.py"]


def test_no_test_suites_and_no_third_party_packages(tmp_path: Path) -> None:
    for name in ("a.py", "test/b.py", "json/c.py", "site-packages/d.py", "x/tests/e.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert sorted(module_paths(tmp_path)) == ["a.py", "json/c.py"]


def test_documents_are_the_same_every_time(documents: list[Document]) -> None:
    assert list(iter_documents()) == documents


def test_no_long_paragraph_repeats(documents: list[Document]) -> None:
    paragraphs = Counter(
        " ".join(paragraph.split()) for document in documents for paragraph in document.text.split("\n\n")
    )
    assert [text for text, count in paragraphs.items() if count > 1 and len(text) >= 120] == []


def test_held_out_part_depends_on_the_source_alone(documents: list[Document]) -> None:
    assert all(document.held_out == is_held_out(document.source) for document in documents)
    share = sum(document.held_out for document in documents) / len(documents)
    assert 0.04 < share < 0.2
    # A hash of the name, so these hold on any version of Python and in any order.
    assert is_held_out("Lib/pickle.py")
    assert not is_held_out("Lib/json/encoder.py")


def test_jsonl_round_trip(documents: list[Document], tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    assert write_corpus(path) == len(documents)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(set(row) == {"text", "source"} for row in rows)
    pairs = [(row["source"], row["text"]) for row in rows]
    assert sorted(pairs) == sorted((document.source, document.text) for document in documents)
    kinds = [source.startswith("topic:") for source, _ in pairs]
    assert any(kinds[:50])
    assert not all(kinds[:50])


def test_docstrings_come_with_the_header_that_help_prints() -> None:
    assert list(docstrings(ast.parse(MODULE))) == [
        (0, "", "A module.\n\nindented"),
        (12, "class Encoder(Base)\n", "Encode things."),
        (17, "dumps(self, obj, *, skipkeys: bool=False)\n", "Return a string."),
    ]


def test_comments_are_prose_outside_strings() -> None:
    [(line, header, text)] = comments(MODULE, string_lines(ast.parse(MODULE)))
    assert (line, header) == (10, "")
    assert text.startswith("This comment explains")
    assert text.endswith("count as prose.")
