"""A warehouse as web pages: a static site that needs no network and no server."""

from __future__ import annotations

from attnrules.pages.site import Written, write_site

__all__ = [
    "Written",
    "write_site",
]
