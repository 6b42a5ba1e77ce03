"""What pages show of a warehouse, a head at a time: rows as dictionaries, not yet words."""

from __future__ import annotations

from attnrules.queries.pages.gathering import HeadPages, Site, found_features, head_pages, site

__all__ = [
    "HeadPages",
    "Site",
    "found_features",
    "head_pages",
    "site",
]
