"""An ingest shared by many processes: a task is a chunk of sequences; a process loads the model once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestProgress, IngestResult, IngestSpec, shared
from attnrules.spread import Means, Spread
from attnrules.tasks import Tasks, Write, begun_as, refuse_no_lake, unused_name
from attnrules.warehouse import Warehouse
from attnrules.workers import do_elsewhere

_READ = "read"


@dataclass(frozen=True)
class IngestTasks(Tasks):
    """The chunks that an ingest is to capture.

    Arguments:
        todo: what they are.
    """

    todo: shared.Todo

    done_word = "captured"
    loads = True

    @classmethod
    def begin(cls, lake: Path, spec: IngestSpec, report: Callable[[IngestProgress], None]) -> Self:
        """Return the tasks of an ingest into a lake, those that are there already or new ones.

        A lake that is not there is made. Raises what the ingest raises before it captures, and
        `AttnRulesError` where the lake holds tasks of another command.
        """
        fields = shared.anchored(spec)
        there = begun_as(lake, "ingest", fields)
        if isinstance(there, cls):
            return there
        unfinished = unused_name(lake.resolve())
        try:
            todo = shared.begin(lake, spec, unfinished / _READ, report)
            return cls(lake.resolve(), "ingest", fields, todo.run_id, todo).store(unfinished)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    @classmethod
    def planned(cls, lake: Path, plan: Mapping[str, Any]) -> Self:
        """Return the tasks of a plan that `store` wrote."""
        return cls(lake, **{**plan, "todo": shared.Todo(**plan["todo"])})

    def plan(self) -> dict[str, Any]:
        """Return the chunks."""
        return {"todo": asdict(self.todo)}

    @cached_property
    def names(self) -> list[str]:
        """The names of the chunks: first sequence, and how many."""
        return [f"seqs-{first}-{n}" for _, first, n, _ in self.todo.chunks]

    def is_asked_by(self, arguments: dict[str, Any]) -> bool:  # noqa: ARG002
        """Tell whether a run is that of these tasks: it began with them, so that its number says it."""
        return True

    @contextmanager
    def writing(self, means: Means) -> Iterator[Write]:
        """Load the model and yield what captures a chunk."""
        spec = shared.as_spec(self.spec, means.device)
        with (
            self.unfinished("worker") as folder,
            shared.capturing(
                self.copy(folder), spec, self.todo, self.folder / _READ, means.threads
            ) as capture,
        ):

            def write(task: int, rows: Path) -> None:
                try:
                    capture(task, rows)
                except AttnRulesError as error:
                    raise AttnRulesError(f"{self.names[task]}: {error}") from error

            yield write

    def finish(self, report: Callable[[IngestProgress], None]) -> IngestResult:
        """Store what was captured, remove the tasks, and return what the ingest did.

        Raises `AttnRulesError` where a task is not done, or the lake was written to since the tasks began.
        """
        self.refuse_pending()
        captured = [self.done(task) for task in range(len(self.names))]
        with Warehouse.open(self.lake, writable=True) as warehouse:
            self.last_run(warehouse)
            spec = shared.as_spec(self.spec, "cpu")
            result = shared.finish(warehouse, spec, self.todo, self.folder / _READ, captured, report)
        self.remove()
        return result


def ingest_shared(
    path: Path, spec: IngestSpec, spread: Spread, report: Callable[[IngestProgress], None]
) -> IngestResult | str:
    """Ingest into the lake at `path`, capturing as `spread` says; return what was done, or is to be done now.

    Raises what `ingest` does, and `AttnRulesError` that names the chunk where capturing fails.
    """
    if Warehouse.is_there(path):
        refuse_no_lake(path)
    tasks = IngestTasks.begin(path, spec, report)
    sizes = [n_seqs for _, _, n_seqs, _ in tasks.todo.chunks]
    left = {*tasks.pending()}

    def tell(task: int, _: int) -> None:
        left.discard(task)
        done = sum(sizes) - sum(sizes[task] for task in left)
        report(IngestProgress("capturing", done, sum(sizes)))

    if left:
        report(IngestProgress("capturing"))
    to_do = do_elsewhere(tasks, spread, Means(device=spec.device), tell)
    return tasks.finish(report) if to_do is None else to_do
