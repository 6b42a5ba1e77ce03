"""What many processes do of one command on a lake: whoever does a task first has done it.

    LAKE/tasks/plan.json         what is to be done
    LAKE/tasks/catalogue.duckdb  the catalogue as it was when that began
    LAKE/tasks/<task>/           what a task has found

A task writes to a hidden folder, which gets its name at the very end. Nothing is written to the lake before
all tasks are done.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from attnrules.errors import AttnRulesError, UsageError
from attnrules.spread import Means
from attnrules.warehouse import Warehouse
from attnrules.warehouse.files import CATALOGUE, TASKS, is_lake, refuse_log, share_files

if TYPE_CHECKING:
    from attnrules.ingest_tasks import IngestTasks
    from attnrules.layer_tasks import LayerTasks
    from attnrules.mining_tasks import MiningTasks

_PLAN = "plan.json"
# Writes what a task finds to a new folder.
Write = Callable[[int, Path], None]


@dataclass(frozen=True)
class Tasks(ABC):
    """The tasks of one command on one lake.

    Arguments:
        lake: the folder of the lake, absolute.
        command: as `runs` names it. spec: its fields, as JSON holds them. run_id: that its rows will have.
    """

    lake: Path
    command: str
    spec: dict[str, Any]
    run_id: int

    # What is done to a task, and whether who does one should go on with others: a model is dear to load.
    done_word: ClassVar[str]
    loads: ClassVar[bool] = False
    # What to do when an array of SLURM has done all of them.
    afterwards: ClassVar[str] = (
        "run this command with --workers 1 in place of --slurm, which stores what was found"
    )

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """The names of the tasks, such as L0H3."""

    @abstractmethod
    def writing(self, means: Means) -> AbstractContextManager[Write]:
        """Return what yields how to do a task; raises what the command raises."""

    @abstractmethod
    def plan(self) -> dict[str, Any]:
        """Return what JSON has to hold besides the fields of every command."""

    def is_asked_by(self, arguments: dict[str, Any]) -> bool:
        """Tell whether the arguments of a run are those of this command."""
        return arguments == self.spec

    @property
    def folder(self) -> Path:
        """The folder of the tasks."""
        return self.lake / TASKS

    def done(self, task: int) -> Path:
        """Return the folder that holds what a task has found, once it has."""
        return self.folder / self.names[task]

    def pending(self) -> list[int]:
        """Return the tasks that nobody has done yet."""
        done = {*os.listdir(self.folder)} if self.folder.exists() else set()  # noqa: PTH208
        return [task for task, name in enumerate(self.names) if name not in done]

    @contextmanager
    def worker(self, means: Means) -> Iterator[Callable[[int], bool]]:
        """Yield what does a task and tells whether that was needed; of two that do one, the first counts.

        Raises what the command raises.
        """
        with self.writing(means) as write:
            yield partial(self._do, write)

    def perform(self, task: int, means: Means = Means()) -> bool:  # noqa: B008
        """Do one task and tell whether that was needed."""
        with self.worker(means) as do:
            return do(task)

    def _do(self, write: Write, task: int) -> bool:
        if self.done(task).exists():
            return False
        with self.unfinished(self.names[task]) as attempt:
            (attempt / "rows").mkdir()
            write(task, attempt / "rows")
            return self._take_place(attempt / "rows", self.done(task))

    @contextmanager
    def unfinished(self, name: str) -> Iterator[Path]:
        """Yield a hidden folder, which is removed at the end; raises `AttnRulesError` without tasks."""
        attempt = self.folder / f".{name}.{secrets.token_hex(4)}"
        try:
            # Not the folder around it: another process may have ended the command.
            attempt.mkdir()
        except FileNotFoundError as error:
            raise AttnRulesError(f"{self.folder}: was finished by another process, or removed") from error
        try:
            yield attempt
        finally:
            shutil.rmtree(attempt, ignore_errors=True)

    @staticmethod
    def _take_place(rows: Path, done: Path) -> bool:
        try:
            rows.rename(done)
        except OSError:
            # Another process did it meanwhile.
            if not done.exists():
                raise
            return False
        return True

    def copy(self, folder: Path) -> Path:
        """Make a lake below `folder` of the catalogue as it was and the same files."""
        lake = folder / "lake"
        lake.mkdir()
        shutil.copyfile(self.folder / CATALOGUE, lake / CATALOGUE)
        share_files(self.lake, lake)
        return lake

    @contextmanager
    def copied(self, rows: Path, means: Means) -> Iterator[Warehouse]:
        """Yield such a lake beside the folder of a task's rows, opened to be written to with these means."""
        with Warehouse.open(self.copy(rows.parent), writable=True) as warehouse:
            if means.memory_limit is not None:
                warehouse.limit_memory(means.memory_limit)
            if means.threads is not None:
                warehouse.execute("SET threads = $n", {"n": means.threads})
            yield warehouse

    def store(self, unfinished: Path) -> Self:
        """Make the folder of the tasks of what lies in `unfinished` and the catalogue, and return them."""
        try:
            self._write_plan(unfinished)
            unfinished.rename(self.folder)
        except OSError as error:
            if self.folder.exists():
                raise AttnRulesError(
                    f"{self.lake}: another process has begun tasks meanwhile; run the command again"
                ) from error
            raise AttnRulesError(f"{self.folder}: cannot be made: {error.strerror or error}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return self

    def take_over(self) -> Self:
        """Put these, of the catalogue as it is now, in the place of tasks that are done, and return them."""
        try:
            with self.unfinished("plan") as folder:
                self._write_plan(folder)
                # The plan says which tasks they are: who is killed before it is put there does this again.
                for name in (CATALOGUE, _PLAN):
                    (folder / name).replace(self.folder / name)
        except OSError as error:
            raise AttnRulesError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        return self

    def _write_plan(self, folder: Path) -> None:
        refuse_log(self.lake / CATALOGUE, self.lake)
        shutil.copyfile(self.lake / CATALOGUE, folder / CATALOGUE)
        fields = {name: getattr(self, name) for name in ("command", "spec", "run_id")}
        (folder / _PLAN).write_text(json.dumps({**fields, **self.plan()}), "utf-8")

    def refuse_pending(self) -> None:
        """Raise `AttnRulesError` where a task is not done."""
        if pending := self.pending():
            raise AttnRulesError(f"{self.lake}: {self.names[pending[0]]} is not {self.done_word} yet")

    def last_run(self, warehouse: Warehouse) -> tuple[bool, bool]:
        """Tell whether the run of these tasks has begun, and whether it is done, by a driver that was killed.

        Raises `AttnRulesError` where another run wrote to the lake since they began.
        """
        if warehouse.next_run_id() <= self.run_id:
            return False, False
        last = "SELECT run_id, command, arguments, status FROM runs ORDER BY run_id DESC LIMIT 1"
        ((run_id, command, arguments, status),) = warehouse.rows(last)
        if (run_id, command) != (self.run_id, self.command) or not self.is_asked_by(json.loads(arguments)):
            raise AttnRulesError(
                f"{self.lake}: was written to after these tasks began (run {run_id}, {command}); remove"
                f" {self.folder} and run the command again"
            )
        return True, status == "done"

    def remove(self) -> None:
        """Remove the folder of the tasks, and what killed drivers left of theirs."""
        # Under another name first: a worker that nobody waits for cannot write to it then.
        self.folder.rename(unused_name(self.lake))
        for left in self.lake.glob(f".{TASKS}.*"):
            shutil.rmtree(left, ignore_errors=True)


def unused_name(lake: Path) -> Path:
    """Return a hidden name of a folder of tasks that nobody has."""
    return lake / f".{TASKS}.{secrets.token_hex(4)}"


def refuse_no_lake(path: Path) -> None:
    """Raise `UsageError` where `path` is no lake."""
    if not is_lake(path):
        raise UsageError(f"{path}: is no lake, which several processes need; see `attnrules lake --help`")


def begun(lake: Path) -> Tasks | None:
    """Return the tasks that a lake holds, None where there are none; raises `AttnRulesError`."""
    path = lake / TASKS / _PLAN
    if not path.exists():
        return None
    try:
        plan = json.loads(path.read_text("utf-8"))
        return _kind(plan).planned(lake.resolve(), plan)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AttnRulesError(f"{path}: cannot be read: {error}; remove {path.parent}") from error


def _kind(plan: Mapping[str, Any]) -> type[IngestTasks | LayerTasks | MiningTasks]:
    # Who mines needs nothing of what ingests, which takes an eighth as long to load again.
    if "layers" in plan:
        from attnrules.layer_tasks import LayerTasks

        return LayerTasks
    if plan["command"] == "ingest":
        from attnrules.ingest_tasks import IngestTasks

        return IngestTasks
    from attnrules.mining_tasks import MiningTasks

    return MiningTasks


def begun_as(lake: Path, command: str, spec: dict[str, Any]) -> Tasks | None:
    """Return the tasks of this command that a lake holds, None where it holds none.

    Raises `AttnRulesError` where they are of another command, or of other options.
    """
    there = begun(lake)
    if there is not None and (there.command, there.spec) != (command, spec):
        raise AttnRulesError(
            f"{lake}: holds unfinished tasks of `{there.command}` with other options; run that command"
            f" again, or remove {there.folder}"
        )
    return there
