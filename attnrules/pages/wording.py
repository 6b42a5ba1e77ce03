"""What the pages say in words of what a warehouse holds."""

from __future__ import annotations

from typing import Any

from attnrules.queries.pages import HeadPages

Row = dict[str, Any]

BANDS = {4: "strongest", 3: "top quarter", 2: "second quarter", 1: "third quarter", 0: "weakest quarter"}
ROLES = {
    "previous_token": "previous token",
    "duplicate_token": "duplicate token",
    "induction": "induction",
    "bos": "BOS",
    "self": "itself",
}


def token(text: str) -> str:
    """Return a token in quotes, line breaks and tabs spelt out."""
    return "'" + text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"


def in_text(text: str) -> str:
    """Return a token as it stands in running text: a line break is a sign of its own."""
    return text.replace("\n", "⏎").replace("\r", "␍").replace("\t", "⇥")


def sentence(pages: HeadPages, row: Row) -> str:
    """Say what a feature looks for, where, what it makes the model say, and how sure that is."""
    feature = row["feature"]
    parts = []
    if looked_at := [token(found["token"]) for found in pages.of("source_tokens", feature)[:3]]:
        parts.append(f"looks for {', '.join(looked_at)}{_where(pages, feature)}")
    if fires := [token(found["token"]) for found in pages.of("tokens", feature)[:3]]:
        parts.append(f"is active most at {', '.join(fires)}")
    if row["says"]:
        parts.append(f"then says {row['says']} ({row['evidence']})")
    said = "; ".join(parts) or f"is active at {row['n_tokens']:,} tokens"
    return f"{said[0].upper()}{said[1:]}. {_how_sure(row)}"


def _where(pages: HeadPages, feature: int) -> str:
    anywhere = {found["distance"]: found["attention"] for found in pages.anywhere}
    more = {
        found["distance"]: found["attention"] - anywhere.get(found["distance"], 0.0)
        for found in pages.of("distances", feature)
    }
    if not more:
        return ""
    distance = max(more, key=lambda at: (more[at], -at))
    if more[distance] < 0.05:
        return ""
    return {0: " at its own position", 1: " one token before"}.get(distance, f" {distance} tokens before")


def _how_sure(row: Row) -> str:
    if row["average_precision"] is None:
        return "No rules of it were judged on all positions."
    rules = "1 rule predicts" if row["n_rules_used"] == 1 else f"{row['n_rules_used']} rules predict"
    words = (
        f"On unseen text {rules} it with precision {row['precision']:.2f} and recall {row['recall']:.2f};"
        f" a guess is right {row['base_rate']:.1%} of the time"
    )
    if row["ceiling_average_precision"] is None:
        return f"{words}."
    return (
        f"{words}. Average precision is {row['average_precision']:.2f}, where all input features together"
        f" reach {row['ceiling_average_precision']:.2f}."
    )
