"""Skip-gram rules: find and rank them by one method or several, then have them judged."""

from __future__ import annotations

from attnrules.queries.skipgrams.mining import (
    HeadResult,
    SkipgramResult,
    SkipgramSpec,
    mine_skipgrams,
    plan_skipgrams,
)

__all__ = [
    "HeadResult",
    "SkipgramResult",
    "SkipgramSpec",
    "mine_skipgrams",
    "plan_skipgrams",
]
