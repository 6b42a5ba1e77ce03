"""Counting rules: how often a key occurs, beside how often what opposes it does."""

from __future__ import annotations

from attnrules.queries.counting.mining import (
    CountingResult,
    CountingSpec,
    PositionRule,
    beats,
    candidate_rules,
    choose,
    choose_position,
    information,
    mine_counting,
    plan_counting,
)

__all__ = [
    "CountingResult",
    "CountingSpec",
    "PositionRule",
    "beats",
    "candidate_rules",
    "choose",
    "choose_position",
    "information",
    "mine_counting",
    "plan_counting",
]
