"""The tasks of a lake done by processes of this machine, or by the elements of a SLURM array."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest.devices import devices_of_workers
from attnrules.spread import Means, Report, Spread
from attnrules.tasks import Tasks
from attnrules.warehouse.connection import processors

# What DuckDB may hold in a task where a scheduler has to be told.
DEFAULT_LIMIT = "4GB"
# A process that was killed, for want of memory or by a scheduler, is tried again.
_TRIES = 3
# Seconds between two looks at what is done.
_PATIENCE = 0.5
# Elements of the array of an ingest where nobody says how many.
_ELEMENTS = 8


def do_elsewhere(tasks: Tasks, spread: Spread, means: Means, report: Report) -> str | None:
    """Do all that is pending as `spread` says; return what a user has to do now where nothing was done.

    Raises `UsageError` where `spread` says several ways, and `AttnRulesError` for a task that fails.
    """
    if spread.ray is not None and spread.workers is not None and not tasks.loads:
        raise UsageError("--workers and --ray: give one of them, Ray places heads as its machines allow")
    if spread.slurm is not None:
        return write_slurm_script(tasks, spread.slurm, means, spread.workers)
    if spread.ray is not None:
        from attnrules.ray_workers import run_on_ray

        run_on_ray(tasks, spread.ray, means, report, n_actors=spread.workers)
    else:
        run_processes(tasks, spread.workers or 1, means, report)
    return None


@dataclass(frozen=True)
class _Share:
    """What one process does: how a failure of it is named, and its command."""

    failure: str
    words: list[str]


def run_processes(tasks: Tasks, n_workers: int, means: Means, report: Report) -> None:
    """Do what is pending in `n_workers` processes of this machine at a time; `report` is told of each task.

    A process that was killed is started again, twice at most. Raises `AttnRulesError` that names the task
    and the cause of the first other failure; what was finished stays.
    """
    pending = tasks.pending()
    if pending:
        _Processes(tasks, min(n_workers, len(pending)), means, report).run()


class _Processes:
    """The processes that do the tasks of a lake on this machine."""

    def __init__(self, tasks: Tasks, n_workers: int, means: Means, report: Report) -> None:
        self._tasks = tasks
        self._n_workers = n_workers
        self._report = report
        self._pending = tasks.pending()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        threads = max(1, processors() // n_workers)
        limit = means.memory_limit or f"{50 / n_workers:.3g}%"
        self._means = Means(means.threads or threads, limit, means.device)

    def run(self) -> None:
        with ThreadPoolExecutor(self._n_workers) as pool:
            started = [pool.submit(self._do, share) for share in self._shares()]
            try:
                self._watch(started)
            finally:
                self._stopped = True
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(self._running):
                    process.terminate()

    def _shares(self) -> list[_Share]:
        """Return a process for each task, or where one is dear to begin, a process for each worker."""
        tasks, n = self._tasks, self._n_workers
        if not tasks.loads:
            words = self._means.words()
            return [
                _Share(failure_of(tasks, task), [*_command(tasks, task), *words]) for task in self._pending
            ]
        devices = devices_of_workers(self._means.device, n)
        means = [Means(self._means.threads, None, device) for device in devices]
        return [
            _Share(f"worker {k} of {n}", [*_command(tasks, k), "--of", str(n), *means[k].words()])
            for k in range(n)
            if any(task % n == k for task in self._pending)
        ]

    def _watch(self, started: Sequence[Future[None]]) -> None:
        """Wait for all shares, telling of each task that is done meanwhile; raise what a share raises."""
        waiting: set[Future[None]] = {*started}
        while waiting:
            done, waiting = wait(waiting, timeout=_PATIENCE, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            self._tell()

    def _tell(self) -> None:
        before, self._pending = self._pending, self._tasks.pending()
        left = {*self._pending}
        for task in before:
            if task not in left:
                self._report(task, len(self._pending))

    def _do(self, share: _Share) -> None:
        code, said = 0, ""
        for _ in range(_TRIES):
            code, said = self._wait(share.words)
            if code >= 0 or self._stopped:
                break
        if code:
            lines = said.strip().splitlines() or [f"it was ended by signal {-code}"]
            raise AttnRulesError(f"{share.failure}: {lines[-1].removeprefix('attnrules: ')}")

    def _wait(self, words: Sequence[str]) -> tuple[int, str]:
        process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self._running.add(process)
        _, said = process.communicate()
        self._running.discard(process)
        return process.returncode, said


def _command(tasks: Tasks, task: int) -> list[str]:
    return [sys.executable, "-m", "attnrules", "worker", str(tasks.lake), "--task", str(task)]


def failure_of(tasks: Tasks, task: int) -> str:
    """Return what is said before the cause when a task fails."""
    return f"{tasks.names[task]}: could not be {tasks.done_word}"


def write_slurm_script(tasks: Tasks, script: Path, means: Means, n_elements: int | None) -> str:
    """Write a script for `sbatch` whose elements do every task, and return what to do with it.

    Each of `n_elements` does its share; by default there are 8 where a model is to be loaded, otherwise one
    for each task. Raises `AttnRulesError` when the script cannot be written.
    """
    n = min(n_elements or (_ELEMENTS if tasks.loads else len(tasks.names)), len(tasks.names))
    limit = means.memory_limit or DEFAULT_LIMIT
    own = Means(means.threads, None if tasks.loads else limit, means.device)
    words = [sys.executable, "-m", "attnrules", "worker", str(tasks.lake), "--of", str(n), *own.words()]
    text = f"""#!/bin/sh
#SBATCH --job-name=attnrules
#SBATCH --array=0-{n - 1}
{_resources(tasks, means, limit)}
#SBATCH --requeue
exec {shlex.join(words)} --task "$SLURM_ARRAY_TASK_ID"
"""
    try:
        script.write_text(text, "utf-8")
    except OSError as error:
        raise AttnRulesError(f"{script}: cannot be written: {error.strerror or error}") from error
    submit = shlex.join(["sbatch", str(script)])
    return (
        f"{script}: {len(tasks.pending())} of {len(tasks.names)} tasks to do; run `{submit}`."
        f" When it has ended, {tasks.afterwards}"
    )


def _resources(tasks: Tasks, means: Means, limit: str) -> str:
    if not tasks.loads:
        return f"#SBATCH --cpus-per-task=2\n#SBATCH --mem={math.ceil(bytes_of_process(limit) / (1 << 20))}M"
    # How much memory a model takes is for the user to say.
    return "#SBATCH --cpus-per-task=4" + ("" if means.device == "cpu" else "\n#SBATCH --gpus-per-task=1")


def bytes_of_process(limit: str) -> int:
    """Return what a process may hold whose DuckDB may hold `limit`, such as 4GB: twice that, bytes."""
    match = re.match(r"([0-9.]+)\s*([MGT])", limit, re.IGNORECASE)
    if match is None:
        raise UsageError(
            f"--memory-limit {limit}: is not a size such as 8GB: another machine is asked for it"
        )
    return int(2 * float(match[1]) * 10 ** {"M": 6, "G": 9, "T": 12}[match[2].upper()])
