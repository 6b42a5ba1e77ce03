"""Mining a lake by many processes: a task is a head, and whoever does it first has done it.

    LAKE/tasks/plan.json         what is mined, and which heads
    LAKE/tasks/catalogue.duckdb  the catalogue as it was when that began
    LAKE/tasks/L0H3/             what was mined of a head

A task mines its head in a copy of the catalogue beside the same fact files, and gives the folder with the
rows its name at the very end. Nothing is written to the catalogue before all heads are there.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError, UsageError
from attnrules.queries.absence import AbsenceSpec, plan_absence
from attnrules.queries.counting import CountingSpec, plan_counting
from attnrules.queries.heads import FeatureId, Mining, Spec
from attnrules.queries.skipgrams import SkipgramSpec, plan_skipgrams
from attnrules.sql import head_name
from attnrules.warehouse import Warehouse
from attnrules.warehouse.files import CATALOGUE, is_lake
from attnrules.warehouse.mined import replace_mined, write_mined

Report = Callable[[str], None]

PLANS: dict[str, tuple[type[Spec], Callable[[Warehouse, Any], Mining[Any, Any, Any]]]] = {
    "skipgrams": (SkipgramSpec, plan_skipgrams),
    "absence": (AbsenceSpec, plan_absence),
    "counting": (CountingSpec, plan_counting),
}
# What DuckDB may hold in a task where a scheduler has to be told.
DEFAULT_LIMIT = "4GB"
_PLAN, _FOUND = "plan.json", "found.json"
# A process that was killed, for want of memory or by a scheduler, is tried again.
_TRIES = 3


@dataclass(frozen=True)
class Tasks:
    """The tasks of one mining command on one lake.

    Arguments:
        lake: the folder of the lake.
        command: of `PLANS`. spec: its fields, as JSON holds them. run_id: that its rows will have.
        heads: (layer, head, features) of each task.
    """

    lake: Path
    command: str
    spec: dict[str, Any]
    run_id: int
    heads: list[tuple[int, int, list[int]]]

    @classmethod
    def begun(cls, lake: Path) -> Tasks | None:
        """Return the tasks that a lake holds, None where there are none; raises `AttnRulesError`."""
        path = folder_of(lake) / _PLAN
        if not path.exists():
            return None
        try:
            plan = json.loads(path.read_text("utf-8"))
            return cls(lake, plan["command"], plan["spec"], plan["run_id"], plan["heads"])
        except (OSError, ValueError, KeyError) as error:
            raise AttnRulesError(f"{path}: cannot be read: {error}; remove {path.parent}") from error

    @classmethod
    def begin(cls, lake: Path, command: str, spec: Spec) -> Tasks:
        """Return the tasks of a command, those that are there already or new ones.

        Raises `UsageError` where `lake` is none, `AttnRulesError` where it holds those of another command,
        and what the command itself raises before the first head is mined.
        """
        if not is_lake(lake):
            raise UsageError(f"{lake}: is no lake, which several processes need; see `attnrules lake --help`")
        there, fields = cls.begun(lake), json.loads(json.dumps(asdict(spec)))
        if there is not None:
            if (there.command, there.spec) != (command, fields):
                raise AttnRulesError(
                    f"{lake}: holds unfinished tasks of `mine {there.command}` with other options; run that"
                    f" command again, or remove {folder_of(lake)}"
                )
            return there
        with Warehouse.open(lake, writable=True) as warehouse:
            run = PLANS[command][1](warehouse, spec).run
            heads = [(layer, head, features.tolist()) for layer, head, features in run.heads]
            run_id = warehouse.next_run_id()
        tasks = cls(lake, command, fields, run_id, heads)
        tasks._store()
        return tasks

    def _store(self) -> None:
        folder = folder_of(self.lake)
        unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        unfinished.mkdir()
        shutil.copyfile(self.lake / CATALOGUE, unfinished / CATALOGUE)
        plan = {name: getattr(self, name) for name in ("command", "spec", "run_id", "heads")}
        (unfinished / _PLAN).write_text(json.dumps(plan), "utf-8")
        unfinished.rename(folder)

    @cached_property
    def typed(self) -> Spec:
        """The specification of the command."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.spec.items()
        }
        fields["features"] = tuple(FeatureId(**feature) for feature in self.spec["features"])
        return PLANS[self.command][0](**fields)

    def name(self, task: int) -> str:
        """Return the name of the head of a task, such as L0H3."""
        return head_name(*self.heads[task][:2])

    def done(self, task: int) -> Path:
        """Return the folder that holds what a task has found, once it has."""
        return folder_of(self.lake) / self.name(task)

    def pending(self) -> list[int]:
        """Return the tasks that nobody has done yet."""
        return [task for task in range(len(self.heads)) if not self.done(task).exists()]

    def perform(self, task: int, *, threads: int | None = None, memory_limit: str | None = None) -> bool:
        """Do a task and tell whether that was needed; of two that do one, the first counts.

        Raises what the mining command raises.
        """
        if self.done(task).exists():
            return False
        layer, head, features = self.heads[task]
        attempt = folder_of(self.lake) / f".{self.name(task)}.{secrets.token_hex(4)}"
        rows = attempt / "rows"
        rows.mkdir(parents=True)
        try:
            with Warehouse.open(self._copy(attempt), writable=True) as warehouse:
                warehouse.limit_memory(memory_limit)
                if threads is not None:
                    warehouse.execute("SET threads = $n", {"n": threads})
                found = PLANS[self.command][1](warehouse, self.typed).one_head(task)
                write_mined(warehouse, layer, head, features, rows)
            (rows / _FOUND).write_text(json.dumps(asdict(found), default=lambda n: n.item()), "utf-8")
            return self._take_place(rows, self.done(task))
        finally:
            shutil.rmtree(attempt, ignore_errors=True)

    def _copy(self, attempt: Path) -> Path:
        """Make a lake of a copy of the catalogue and the same facts."""
        lake = attempt / "lake"
        lake.mkdir()
        shutil.copyfile(folder_of(self.lake) / CATALOGUE, lake / CATALOGUE)
        (lake / "facts").symlink_to(self.lake.resolve() / "facts")
        return lake

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

    def finish(self) -> Any:
        """Store what all tasks found, remove them, and return what the command returns.

        Raises `AttnRulesError` where a task is not done, or the lake was written to since the tasks began.
        """
        if pending := self.pending():
            raise AttnRulesError(f"{self.lake}: {self.name(pending[0])} is not mined yet")
        command = f"mine {self.command}"
        with Warehouse.open(self.lake, writable=True) as warehouse:
            again = self._begun_to_finish(warehouse, command)
            mining = PLANS[self.command][1](warehouse, self.typed)
            with warehouse.run(command, self.spec, again=again):
                for task, (layer, head, features) in enumerate(self.heads):
                    replace_mined(warehouse, layer, head, features, self.done(task))
            found = [
                mining.found(**json.loads((self.done(task) / _FOUND).read_text("utf-8")))
                for task in range(len(self.heads))
            ]
        shutil.rmtree(folder_of(self.lake))
        return mining.result(found)

    def _begun_to_finish(self, warehouse: Warehouse, command: str) -> int | None:
        """Return the run of a driver that was killed while it finished these tasks, None for none."""
        if warehouse.next_run_id() == self.run_id:
            return None
        last = "SELECT run_id, command, arguments, status FROM runs ORDER BY run_id DESC LIMIT 1"
        run_id, found, arguments, status = warehouse.rows(last)[0]
        is_ours = (run_id, found, json.loads(arguments)) == (self.run_id, command, self.spec)
        if is_ours and status != "done":
            return self.run_id
        raise AttnRulesError(
            f"{self.lake}: was written to after these tasks began (run {run_id}, {found}); remove"
            f" {folder_of(self.lake)} and run the command again"
        )


def folder_of(lake: Path) -> Path:
    """Return the folder of a lake that holds its tasks."""
    return lake / "tasks"


def run_processes(tasks: Tasks, n_workers: int, memory_limit: str | None, report: Report) -> None:
    """Do what is pending in `n_workers` processes of this machine at a time; `report` is told of each task.

    A process that was killed is started again, twice at most. Raises `AttnRulesError` that names the task
    and the cause of the first other failure; what was finished stays.
    """
    _Processes(tasks, n_workers, memory_limit, report).run()


class _Processes:
    """The processes that do the tasks of a lake on this machine."""

    def __init__(self, tasks: Tasks, n_workers: int, memory_limit: str | None, report: Report) -> None:
        self._tasks = tasks
        self._n_workers = n_workers
        self._report = report
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        threads = max(1, (os.cpu_count() or 1) // n_workers)
        limit = memory_limit or f"{_memory() // n_workers // 2 >> 20}MB"
        self._options = ["--threads", str(threads), "--memory-limit", limit]

    def run(self) -> None:
        with ThreadPoolExecutor(self._n_workers) as pool:
            started = [pool.submit(self._do, task) for task in self._tasks.pending()]
            try:
                done, _ = wait(started, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                self._stopped = True
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(self._running):
                    process.terminate()

    def _do(self, task: int) -> None:
        tasks, name = self._tasks, self._tasks.name(task)
        words = [sys.executable, "-m", "attnrules", "worker", str(tasks.lake), "--task", str(task)]
        code, said = 0, ""
        for _ in range(_TRIES):
            code, said = self._wait([*words, *self._options])
            if code >= 0 or self._stopped:
                break
        if code:
            lines = said.strip().splitlines() or [f"it was ended by signal {-code}"]
            raise AttnRulesError(f"{name}: could not be mined: {lines[-1].removeprefix('attnrules: ')}")
        self._report(f"{name} mined, {len(tasks.pending())} of {len(tasks.heads)} heads to go")

    def _wait(self, words: Sequence[str]) -> tuple[int, str]:
        process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self._running.add(process)
        _, said = process.communicate()
        self._running.discard(process)
        return process.returncode, said


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write_slurm_script(tasks: Tasks, script: Path, memory_limit: str | None) -> None:
    """Write a script for `sbatch` that does every task in an element of an array.

    Raises `AttnRulesError` when it cannot be written.
    """
    limit = memory_limit or DEFAULT_LIMIT
    words = [sys.executable, "-m", "attnrules", "worker", str(tasks.lake.resolve())]
    text = f"""#!/bin/sh
#SBATCH --job-name=attnrules
#SBATCH --array=0-{len(tasks.heads) - 1}
#SBATCH --cpus-per-task=2
#SBATCH --mem={math.ceil(bytes_of_process(limit) / (1 << 20))}M
#SBATCH --requeue
exec {shlex.join(words)} --memory-limit {shlex.quote(limit)} --task "$SLURM_ARRAY_TASK_ID"
"""
    try:
        script.write_text(text, "utf-8")
    except OSError as error:
        raise AttnRulesError(f"{script}: cannot be written: {error.strerror or error}") from error


def bytes_of_process(limit: str) -> int:
    """Return what a process may hold whose DuckDB may hold `limit`, such as 4GB: twice that, bytes."""
    match = re.match(r"([0-9.]+)\s*([MGT])", limit, re.IGNORECASE)
    if match is None:
        raise UsageError(f"--memory-limit {limit}: is not a size such as 8GB")
    return int(2 * float(match[1]) * 10 ** {"M": 6, "G": 9, "T": 12}[match[2].upper()])
