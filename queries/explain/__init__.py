"""A text explained: token by token which output features fire, and which stated rules say so."""

from __future__ import annotations

from attnrules.queries.explain.attending import Attended, attended, main_head
from attnrules.queries.explain.explaining import STATUSES, Explained, explain, explained_features

__all__ = ["STATUSES", "Attended", "Explained", "attended", "explain", "explained_features", "main_head"]
