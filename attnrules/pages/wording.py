"""What the pages say in words of what a warehouse holds."""

from __future__ import annotations

from typing import Any

from attnrules.queries.pages import HeadPages
from attnrules.queries.stated import language
from attnrules.queries.stated.language import Place
from attnrules.sentence import first_tokens, sentence, token

__all__ = [
    "ATTENDED",
    "BANDS",
    "ROLES",
    "condition",
    "first_tokens",
    "in_text",
    "lead",
    "near",
    "number",
    "percent",
    "rule_part",
    "token",
    "worth_showing",
]

Row = dict[str, Any]

BANDS = {4: "strongest", 3: "top quarter", 2: "second quarter", 1: "third quarter", 0: "weakest quarter"}
ROLES = {
    "previous_token": "previous token",
    "duplicate_token": "duplicate token",
    "induction": "induction",
    "bos": "BOS",
    "self": "itself",
}

# What a head of a role attends to.
ATTENDED = ROLES | {
    "previous_token": "the previous token",
    "duplicate_token": "earlier copies of its token",
    "induction": "what followed earlier copies of its token",
}

# A source that brings less than this share of what the largest does is not drawn.
_SHARE_SHOWN = 0.1


def in_text(text: str) -> str:
    """Return a token as it stands in running text: a line break is a sign of its own."""
    return text.replace("\n", "⏎").replace("\r", "␍").replace("\t", "⇥")


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with so many digits behind the point, a dash where it is not known; never -0."""
    return "—" if value is None else format(value, f"z.{digits}f")


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in percent, as `number` does."""
    return "—" if value is None else format(value, f"z.{digits}%")


def rule_part(row: Row) -> str:
    """Name the part of an activation that a rule brings, by its largest key."""
    return f"rule {row['rank']}: at {token(row['key_token'])}, [{row['words'] or 'never fires'}]"


def condition(row: Row) -> str:
    """Say what stated rules ask for, as the language of rules does."""
    place = Place(row["place"], row["nearest"], row["farthest"])
    return language.condition([row["wanted"]], place, row["at_least"], absent=row["absent"])


def near(tokens: list[Row], pos: int) -> list[Row]:
    """Return the tokens of the text that is shown around a position."""
    return [row for row in tokens if row["pos"] >= pos - 28]


def worth_showing(tokens: list[Row], pos: int) -> list[Row]:
    """Return the tokens before a position to draw: those that bring or get much, and the nearest."""
    least = {
        name: _SHARE_SHOWN * max((abs(row[name] or 0.0) for row in tokens), default=0.0)
        for name in ("attention", "contribution")
    }
    return [
        {**row, "token": in_text(row["token"])}
        for row in tokens
        if row["pos"] <= pos
        and (row["pos"] >= pos - 3 or any(abs(row[name] or 0.0) > most for name, most in least.items()))
    ]


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
