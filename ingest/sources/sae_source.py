"""What an option that names SAEs stands for: where it has them, and how each is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.sae_weights import Role


@dataclass(frozen=True)
class SaeSource:
    """The SAEs that one `--input-sae` or `--output-sae` names.

    Arguments:
        role: what they are for.
        name: the source as the user wrote it.
        available: where it has SAEs; None where that cannot be listed.
        load: loads the SAELens module at a location onto a device.
        model_names: model names found in the configurations.
        commit: returns the hub commit that `load` has read from, None for a local folder.
        is_release: whether `available` is what SAELens lists of a release, whatever model is asked for.
        reads_whole_layers: where nothing can be listed, whether its output SAEs read all heads of a layer.
    """

    role: Role
    name: str
    available: frozenset[Location] | None
    load: Callable[[Location, str], Any]
    model_names: frozenset[str] = field(default_factory=frozenset)
    commit: Callable[[], str | None] = lambda: None
    is_release: bool = False
    reads_whole_layers: bool = False

    def offers(self, at: Location) -> bool:
        """Tell whether it has an SAE at a location, as far as that is known."""
        if self.available is not None:
            return at in self.available
        return at.head is None or at.is_whole_layer == self.reads_whole_layers
