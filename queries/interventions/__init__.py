"""Absence and counting rules, tested on the model."""

from __future__ import annotations

from attnrules.queries.interventions.running import (
    InterveneHead,
    InterveneResult,
    InterveneSpec,
    chance_confirmed,
    intervene,
)

__all__ = [
    "InterveneHead",
    "InterveneResult",
    "InterveneSpec",
    "chance_confirmed",
    "intervene",
]
