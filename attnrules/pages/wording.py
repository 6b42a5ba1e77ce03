"""What the pages say in words of what a warehouse holds."""

from __future__ import annotations

from typing import Any

from attnrules.queries.pages import HeadPages
from attnrules.sentence import sentence, token

__all__ = ["BANDS", "ROLES", "in_text", "lead", "token"]

Row = dict[str, Any]

BANDS = {4: "strongest", 3: "top quarter", 2: "second quarter", 1: "third quarter", 0: "weakest quarter"}
ROLES = {
    "previous_token": "previous token",
    "duplicate_token": "duplicate token",
    "induction": "induction",
    "bos": "BOS",
    "self": "itself",
}


def in_text(text: str) -> str:
    """Return a token as it stands in running text: a line break is a sign of its own."""
    return text.replace("\n", "⏎").replace("\r", "␍").replace("\t", "⇥")


def lead(pages: HeadPages, row: Row) -> str:
    """Return the sentence with which the page of a feature begins."""
    feature = row["feature"]
    anywhere = {found["distance"]: found["attention"] for found in pages.anywhere}
    return sentence(
        row,
        attended=[token(found["token"]) for found in pages.of("source_tokens", feature)],
        distances={
            found["distance"]: found["attention"] - anywhere.get(found["distance"], 0.0)
            for found in pages.of("distances", feature)
        },
        fires_on=[token(found["token"]) for found in pages.of("tokens", feature)],
    )
