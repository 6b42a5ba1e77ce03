"""Mining a lake by many processes: a task is a head, mined in a copy of the catalogue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from attnrules.queries.absence import AbsenceSpec, plan_absence
from attnrules.queries.counting import CountingSpec, plan_counting
from attnrules.queries.heads import FeatureId, Mining, Spec
from attnrules.queries.skipgrams import SkipgramSpec, plan_skipgrams
from attnrules.spread import Means
from attnrules.sql import head_name
from attnrules.tasks import Tasks, Write, begun_as, refuse_no_lake, unused_name
from attnrules.warehouse import Warehouse
from attnrules.warehouse.mined import replace_mined, write_mined

PLANS: dict[str, tuple[type[Spec], Callable[[Warehouse, Any], Mining[Any, Any, Any]]]] = {
    "mine skipgrams": (SkipgramSpec, plan_skipgrams),
    "mine absence": (AbsenceSpec, plan_absence),
    "mine counting": (CountingSpec, plan_counting),
}
_FOUND = "found.json"


@dataclass(frozen=True)
class MiningTasks(Tasks):
    """The heads that a mining command is to mine.

    Arguments:
        heads: (layer, head, features) of each task.
    """

    heads: list[tuple[int, int, list[int]]]

    done_word = "mined"

    @classmethod
    def begin(cls, lake: Path, command: str, spec: Spec) -> Self:
        """Return the tasks of a command of `PLANS`, those that are there already or new ones.

        Raises `UsageError` where `lake` is none, `AttnRulesError` where it holds those of another command,
        and what the command itself raises before the first head is mined.
        """
        refuse_no_lake(lake)
        fields = json.loads(json.dumps(asdict(spec)))
        there = begun_as(lake, command, fields)
        if isinstance(there, cls):
            return there
        with Warehouse.open(lake, writable=True) as warehouse:
            run = PLANS[command][1](warehouse, spec).run
            heads = [(layer, head, features.tolist()) for layer, head, features in run.heads]
            run_id = warehouse.next_run_id()
        unfinished = unused_name(lake)
        unfinished.mkdir()
        return cls(lake.resolve(), command, fields, run_id, heads).store(unfinished)

    @classmethod
    def planned(cls, lake: Path, plan: Mapping[str, Any]) -> Self:
        """Return the tasks of a plan that `store` wrote."""
        return cls(lake, **plan)

    def plan(self) -> dict[str, Any]:
        """Return the heads."""
        return {"heads": self.heads}

    @cached_property
    def typed(self) -> Spec:
        """The specification of the command."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.spec.items()
        }
        fields["features"] = tuple(FeatureId(**feature) for feature in self.spec["features"])
        return PLANS[self.command][0](**fields)

    @cached_property
    def names(self) -> list[str]:
        """The names of the heads."""
        return [head_name(layer, head) for layer, head, _ in self.heads]

    @contextmanager
    def writing(self, means: Means) -> Iterator[Write]:
        """Yield what mines a head."""

        def write(task: int, rows: Path) -> None:
            layer, head, features = self.heads[task]
            with self.copied(rows, means) as warehouse:
                found = PLANS[self.command][1](warehouse, self.typed).one_head(task)
                write_mined(warehouse, layer, head, features, rows)
            (rows / _FOUND).write_text(json.dumps(asdict(found), default=lambda n: n.item()), "utf-8")

        yield write

    def finish(
        self,
        read: Callable[[Warehouse, Any], Any] = lambda _, result: result,
        report: Callable[[int], None] = lambda _: None,
    ) -> Any:
        """Store what all tasks found, remove them, and return what `read` makes of what the command returns.

        `read` has the lake as it is then, before another process can write to it. `report` is told how many
        heads are stored. Raises `AttnRulesError`
        where a task is not done, or the lake was written to since the tasks began.
        """
        self.refuse_pending()
        with Warehouse.open(self.lake, writable=True) as warehouse:
            has_begun, is_done = self.last_run(warehouse)
            mining = PLANS[self.command][1](warehouse, self.typed)
            if not is_done:
                with warehouse.run(self.command, self.spec, again=self.run_id if has_begun else None):
                    for task, (layer, head, features) in enumerate(self.heads):
                        replace_mined(warehouse, layer, head, features, self.done(task))
                        report(task + 1)
            found = [
                mining.found(**json.loads((self.done(task) / _FOUND).read_text("utf-8")))
                for task in range(len(self.heads))
            ]
            said = read(warehouse, mining.result(found))
        self.remove()
        return said
