"""What can be refused before a model is loaded, which takes longer than to say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnrules.queries.interventions.outputs import OutputSpec, asked_of_outputs
from attnrules.queries.interventions.probing import ProbeSpec, asked_of_heads
from attnrules.queries.interventions.running import InterveneSpec, asked_of_rules
from attnrules.queries.interventions.stated_testing import StatedSpec, asked_of_stated

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

TestSpec = InterveneSpec | OutputSpec | StatedSpec | ProbeSpec


def refuse_untestable(warehouse: Warehouse, spec: TestSpec) -> None:
    """Raise what the test of `spec` raises before it needs the model: nothing was mined, no such head."""
    match spec:
        case InterveneSpec():
            asked_of_rules(warehouse, spec)
        case OutputSpec():
            asked_of_outputs(warehouse, spec)
        case StatedSpec():
            asked_of_stated(warehouse, spec)
        case ProbeSpec():
            asked_of_heads(warehouse, spec)
