"""The documentation: what it cites and links exists, its commands parse, its SQL runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("attnrules", "benchmarks", "ingest", "queries", "sql", "tests", "warehouse")
SOURCES = [
    path for room in ROOMS for suffix in ("py", "sql") for path in sorted((ROOT / room).rglob(f"*.{suffix}"))
]


def sections() -> set[str]:
    """The numbers of the sections of docs/method.md."""
    return set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?) ", (ROOT / "docs/method.md").read_text("utf-8"), re.M))


def citations(text: str) -> Iterator[str]:
    """The sections of the method that a source cites, over line breaks and comment marks."""
    flat = re.sub(r"\n\s*(?:--|#)?\s*", " ", text)
    for cited in re.findall(r"method\.md sections? ([\d.]*\d(?:(?:, | and | to )[\d.]*\d)*)", flat):
        yield from re.findall(r"\d+(?:\.\d+)?", cited)


def test_the_method_is_cited_by_sections_that_exist() -> None:
    cited = [(path, section) for path in SOURCES for section in citations(path.read_text("utf-8"))]
    assert len(cited) > 30
    assert [(path.name, section) for path, section in cited if section not in sections()] == []


def test_nothing_cites_a_page_that_is_not_here() -> None:
    here = {page.name for page in (*PAGES, ROOT / "CHANGELOG.md")}
    cited = [
        (path, page) for path in SOURCES for page in re.findall(r"[\w-]+\.md\b", path.read_text("utf-8"))
    ]
    assert [(path.name, page) for path, page in cited if page not in here] == []


def test_sections_of_the_method_are_numbered_in_order_with_anchors() -> None:
    text = (ROOT / "docs/method.md").read_text("utf-8")
    headings = re.findall(r'^<a id="([\d.]+)"></a>\n\n#{2,3} ([\d.]+) ', text, re.M)
    assert [anchor for anchor, _ in headings] == [number for _, number in headings]
    numbers = [tuple(map(int, number.split("."))) for _, number in headings]
    assert numbers == sorted(set(numbers))
    assert {number for _, number in headings} == sections()
