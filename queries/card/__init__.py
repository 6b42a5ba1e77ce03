"""One output feature, or one head, on one card."""

from __future__ import annotations

from attnrules.queries.card.gathering import FeatureCard, feature_card, feature_facts
from attnrules.queries.card.of_head import HeadCard, head_card

__all__ = [
    "FeatureCard",
    "HeadCard",
    "feature_card",
    "feature_facts",
    "head_card",
]
