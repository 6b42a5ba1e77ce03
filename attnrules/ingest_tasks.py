"""An ingest shared by many processes: a task is a chunk of sequences; a process loads the model once.

When all chunks are stored, the tasks of `layer_tasks` follow.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestProgress, IngestResult, IngestSpec, shared
from attnrules.ingest.pipeline import REFRESHING, Report
from attnrules.layer_tasks import LayerTasks
from attnrules.spread import Means, Spread
from attnrules.tasks import Tasks, Write, begun_as, refuse_no_lake, unused_name
from attnrules.warehouse import Warehouse
from attnrules.warehouse.files import is_lake
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
    afterwards = (
        "run this command again, which stores what was captured and writes a script for the layers; or with"
        " --workers 1 in place of --slurm, which does all of it"
    )

    @classmethod
    def begin(cls, lake: Path, spec: IngestSpec, report: Report) -> Self:
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

    def finish(self, report: Report) -> IngestResult:
        """Store what was captured and what follows from it, remove the tasks, and return what the ingest did.

        Raises `AttnRulesError` where a task is not done, or the lake was written to since the tasks began.
        """
        with self._stored(report) as warehouse:
            result = shared.finish(warehouse, shared.as_spec(self.spec, "cpu"), self.todo, report)
        self.remove()
        return result

    def go_on(self, report: Report) -> LayerTasks:
        """Store what was captured, and return the tasks that compute what follows from it.

        They take the place of these. Raises what `finish` does.
        """
        with self._stored(report) as warehouse:
            layers = warehouse.layers() if warehouse.is_outdated() else []
        fields = (self.lake, self.command, self.spec, self.run_id)
        return LayerTasks(*fields, layers, self.plan()["todo"]).take_over()

    @contextmanager
    def _stored(self, report: Report) -> Iterator[Warehouse]:
        """Yield the lake, which holds what was captured."""
        self.refuse_pending()
        captured = [self.done(task) for task in range(len(self.names))]
        with Warehouse.open(self.lake, writable=True) as warehouse:
            self.last_run(warehouse)
            shared.store(warehouse, self.todo, self.folder / _READ, captured, report)
            yield warehouse


def ingest_shared(path: Path, spec: IngestSpec, spread: Spread, report: Report) -> IngestResult | str:
    """Ingest into the lake at `path`, capturing as `spread` says; return what was done, or is to be done now.

    First chunks are captured, then what follows from all of them is computed by the layer, each where
    `spread` says. Raises what `ingest` does, and `AttnRulesError` that names the chunk or layer that fails.
    """
    if Warehouse.is_there(path):
        refuse_no_lake(path)
    layers = _refreshing(path, spec)
    if layers is None:
        chunks = IngestTasks.begin(path, spec, report)
        if to_do := _capture(chunks, spread, spec.device, report):
            return to_do
        if _is_one_process(spread, path):
            return chunks.finish(report)
        layers = chunks.go_on(report)
    return _refresh(layers, spread, report) or _finish(layers, report)


def _refreshing(path: Path, spec: IngestSpec) -> LayerTasks | None:
    """Return the tasks of the layers of an ingest whose chunks are stored, None where there are none."""
    there = begun_as(path, "ingest", shared.anchored(spec)) if is_lake(path) else None
    return there if isinstance(there, LayerTasks) else None


def _capture(tasks: IngestTasks, spread: Spread, device: str, report: Report) -> str | None:
    sizes = [n_seqs for _, _, n_seqs, _ in tasks.todo.chunks]
    left = {*tasks.pending()}

    def tell(task: int, _: int) -> None:
        left.discard(task)
        done = sum(sizes) - sum(sizes[task] for task in left)
        report(IngestProgress("capturing", done, sum(sizes)))

    if not left:
        return None
    report(IngestProgress("capturing"))
    return do_elsewhere(tasks, spread, Means(device=device), tell)


def _is_one_process(spread: Spread, lake: Path) -> bool:
    """Tell whether nothing is gained by computing in other processes what follows from the facts."""
    if spread.slurm is not None or spread.ray is not None:
        return False
    with Warehouse.open(lake) as warehouse:
        return min(spread.workers or 1, len(warehouse.layers())) < 2


def _refresh(tasks: LayerTasks, spread: Spread, report: Report) -> str | None:
    n = len(tasks.names)
    if not tasks.pending():
        return None
    report(IngestProgress(REFRESHING))

    def tell(_: int, n_left: int) -> None:
        report(IngestProgress(REFRESHING, n - n_left, n, "layers"))

    # Actors are for what loads a model.
    here = replace(spread, workers=None) if spread.ray is not None else spread
    return do_elsewhere(tasks, here, Means(), tell)


def _finish(tasks: LayerTasks, report: Report) -> IngestResult:
    """Store what follows from the facts, remove the tasks, and return what the ingest did.

    Raises `AttnRulesError` where a task is not done, or the lake was written to since the tasks began.
    """
    tasks.refuse_pending()
    with Warehouse.open(tasks.lake, writable=True) as warehouse:
        tasks.last_run(warehouse)
        spec, todo = shared.as_spec(tasks.spec, "cpu"), shared.Todo(**tasks.todo)
        result = shared.finish(warehouse, spec, todo, report, partial(tasks.replace, warehouse))
    tasks.remove()
    return result
