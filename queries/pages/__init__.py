"""What pages show of a warehouse, a head at a time: rows as dictionaries, not yet words."""

from __future__ import annotations

from attnrules.queries.pages.gathering import (
    ExamplePage,
    HeadPages,
    Site,
    example_of,
    features_of_head,
    found_features,
    head_pages,
    methods_compared,
    site,
)

__all__ = [
    "ExamplePage",
    "HeadPages",
    "Site",
    "example_of",
    "features_of_head",
    "found_features",
    "head_pages",
    "methods_compared",
    "site",
]
