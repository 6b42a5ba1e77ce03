"""What follows from the facts of an ingest, computed by many processes: a task is a layer.

They come after the chunks of the ingest are stored, and stand in the place of its tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from attnrules.spread import Means
from attnrules.sql import WHOLE_LAYER, head_name
from attnrules.tasks import Tasks, Write
from attnrules.warehouse import Warehouse
from attnrules.warehouse.derived import replace_derived, write_derived


@dataclass(frozen=True)
class LayerTasks(Tasks):
    """The layers whose counts, descriptions and roles are to be computed from what an ingest stored.

    Arguments:
        layers: of each task. todo: of the ingest, as JSON holds it.
    """

    layers: list[int]
    todo: dict[str, Any]

    done_word = "refreshed"

    @classmethod
    def planned(cls, lake: Path, plan: Mapping[str, Any]) -> Self:
        """Return the tasks of a plan that `store` wrote."""
        return cls(lake, **plan)

    def plan(self) -> dict[str, Any]:
        """Return the layers, and what the ingest has to say at its end."""
        return {"layers": self.layers, "todo": self.todo}

    @cached_property
    def names(self) -> list[str]:
        """The names of the layers."""
        return [head_name(layer, WHOLE_LAYER) for layer in self.layers]

    def is_asked_by(self, arguments: dict[str, Any]) -> bool:  # noqa: ARG002
        """Tell whether a run is that of these tasks: its number says it, for the ingest began it."""
        return True

    @contextmanager
    def writing(self, means: Means) -> Iterator[Write]:
        """Yield what refreshes a layer."""

        def write(task: int, rows: Path) -> None:
            with self.copied(rows, means) as warehouse:
                with warehouse.transaction():
                    warehouse.refresh_layer(self.layers[task])
                write_derived(warehouse, self.layers[task], rows)

        yield write

    def replace(self, warehouse: Warehouse) -> None:
        """Store what all tasks found, in one transaction."""
        with warehouse.transaction():
            for task, layer in enumerate(self.layers):
                replace_derived(warehouse, layer, self.done(task))
