"""Rows of any kind as pages show them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A result as text: its columns, its rows, and whether there were more."""

    columns: list[str]
    rows: list[list[str | None]]
    more: bool
