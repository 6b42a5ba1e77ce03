"""One activation as pages show it: its text shaded, arcs to its sources, and the parts of its sum."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from attnrules.pages import figures, wording

Row = dict[str, Any]

# Rules that have a bar of their own in the parts of an activation.
_RULES_DRAWN = 8


def shaded(tokens: list[Row], pos: int) -> list[Row]:
    """Return the tokens near a position, contributions as shares of the largest, -1 to 1."""
    tokens = wording.near(tokens, pos)
    most = max((abs(row["contribution"] or 0.0) for row in tokens if row["pos"] > 0), default=0.0) or 1.0
    return [
        {
            **row,
            "is_query": row["pos"] == pos,
            "share": max(-1.0, min(1.0, (row["contribution"] or 0.0) / most)),
        }
        for row in tokens
    ]


def arcs(tokens: list[Row], pos: int) -> Markup:
    """Return the text around a position with arcs to what it attends to."""
    shown = wording.worth_showing(tokens, pos)
    return figures.arcs(shown, pos, "attention and contribution of the sources of an example")


def waterfall(parts: list[Row]) -> Markup | None:
    """Return what the strongest activation is made of: rules, the largest first, and the rest."""
    if not parts:
        return None
    rules = sorted((row for row in parts if row["rank"] is not None), key=lambda row: -abs(row["amount"]))
    named = [(wording.rule_part(row), row["amount"]) for row in rules[:_RULES_DRAWN]]
    if others := rules[_RULES_DRAWN:]:
        named.append((f"{len(others)} more rules", sum(row["amount"] for row in others)))
    named += [(row["part"], row["amount"]) for row in parts if row["rank"] is None]
    return figures.waterfall(named, ("activation", parts[0]["activation"]), "what the activation is made of")
