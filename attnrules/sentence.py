"""One sentence that says what an output feature does, for the card and for the pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# Less attention than this beyond what is anywhere is no place that a feature looks at.
_CLEARLY_MORE = 0.05


def token(text: str) -> str:
    """Return a token in quotes, line breaks and other characters that cannot be seen spelt out."""
    shown = (sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return f"'{''.join(shown)}'"


def first_tokens(description: str | None) -> str:
    """Return the first two tokens of a description by tokens and shares, or what others wrote of it."""
    if not description:
        return "never fires"
    tokens = re.findall(r"('.+?') \d+%(?:, |$)", description)
    return ", ".join(tokens[:2]) or description


def sentence(
    facts: Mapping[str, Any],
    *,
    attended: Sequence[str],
    distances: Mapping[int, float],
    fires_on: Sequence[str],
) -> str:
    """Say what a feature looks for, where, what it makes the model say, and how sure that is.

    Arguments:
        facts: n_tokens, says, evidence, and of its best list on all positions n_rules_used, base_rate,
            precision, recall, average_precision and ceiling_average_precision, each None where not known.
        attended: tokens in quotes that get more attention where it is active than anywhere, most first.
        distances: by tokens back, how much more attention than anywhere. fires_on: tokens in quotes.
    """
    parts = []
    if attended:
        parts.append(f"looks for {', '.join(attended[:3])}{_where(distances)}")
    if fires_on:
        parts.append(f"is active most at {', '.join(fires_on[:3])}")
    if facts["says"]:
        parts.append(f"then says {facts['says']} ({facts['evidence']})")
    said = "; ".join(parts) or f"is active at {facts['n_tokens']:,} tokens"
    return f"{said[0].upper()}{said[1:]}. {_how_sure(facts)}"


def _where(distances: Mapping[int, float]) -> str:
    distance = max(distances, key=lambda at: (distances[at], -at), default=0)
    if distances.get(distance, 0.0) < _CLEARLY_MORE:
        return ""
    return {0: " at its own position", 1: " one token before"}.get(distance, f" {distance} tokens before")


def _how_sure(facts: Mapping[str, Any]) -> str:
    if facts["average_precision"] is None:
        return "No rules of it were judged on all positions."
    n_rules = facts["n_rules_used"]
    rules = "1 rule predicts" if n_rules == 1 else f"{n_rules} rules predict"
    words = (
        f"On unseen text {rules} it with precision {facts['precision']:.2f} and recall"
        f" {facts['recall']:.2f}; a guess is right {facts['base_rate']:.1%} of the time"
    )
    if facts["ceiling_average_precision"] is None:
        return f"{words}."
    return (
        f"{words}. Average precision is {facts['average_precision']:.2f}, where all input features together"
        f" reach {facts['ceiling_average_precision']:.2f}."
    )
