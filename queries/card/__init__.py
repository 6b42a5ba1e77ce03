"""One output feature on one card."""

from __future__ import annotations

from attnrules.queries.card.gathering import FeatureCard, feature_card

__all__ = [
    "FeatureCard",
    "feature_card",
]
