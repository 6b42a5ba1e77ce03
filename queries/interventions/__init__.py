"""Rules, roles of heads, and what features make the model say, tested on the model."""

from __future__ import annotations

from attnrules.queries.interventions.asking import TestSpec, refuse_untestable
from attnrules.queries.interventions.outputs import (
    OutputHead,
    OutputResult,
    OutputSpec,
    intervene_on_outputs,
)
from attnrules.queries.interventions.probing import ProbeSpec, probe
from attnrules.queries.interventions.running import (
    InterveneHead,
    InterveneResult,
    InterveneSpec,
    intervene,
)
from attnrules.queries.interventions.stated_testing import (
    StatedHead,
    StatedResult,
    StatedSpec,
    intervene_on_stated,
)

__all__ = [
    "InterveneHead",
    "InterveneResult",
    "InterveneSpec",
    "OutputHead",
    "OutputResult",
    "OutputSpec",
    "ProbeSpec",
    "StatedHead",
    "StatedResult",
    "StatedSpec",
    "TestSpec",
    "intervene",
    "intervene_on_outputs",
    "intervene_on_stated",
    "probe",
    "refuse_untestable",
]
