"""Skip-gram rules: find and rank them by one method or several, then have them judged."""

from __future__ import annotations

from attnrules.queries.skipgrams.mining import (
    BEST,
    METHODS,
    HeadResult,
    SkipgramResult,
    SkipgramSpec,
    mine_skipgrams,
)

__all__ = [
    "BEST",
    "METHODS",
    "HeadResult",
    "SkipgramResult",
    "SkipgramSpec",
    "mine_skipgrams",
]
