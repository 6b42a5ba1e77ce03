"""Absence and counting rules, and roles of heads, tested on the model."""

from __future__ import annotations

from attnrules.queries.interventions.probing import ProbeSpec, probe
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
    "ProbeSpec",
    "chance_confirmed",
    "intervene",
    "probe",
]
