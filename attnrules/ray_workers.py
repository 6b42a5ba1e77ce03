"""The tasks of a lake done by a Ray cluster, whose nodes all see its folder under one path.

Heads are tasks of Ray. Chunks of an ingest are done by actors, each of which loads the model once.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError, one_line
from attnrules.spread import Means, Report
from attnrules.tasks import Tasks, begun
from attnrules.workers import DEFAULT_LIMIT, bytes_of_process, failure_of

# Times that Ray starts a process anew that was killed, or whose node is lost; a task that raises, never.
_RETRIES = 2


def run_on_ray(
    tasks: Tasks, address: str, means: Means, report: Report, *, n_actors: int | None = None
) -> None:
    """Do what is pending on the Ray cluster at `address`, `auto` for the one that runs here.

    A head asks for a processor and for twice what DuckDB may hold. Of an ingest, `n_actors` load the model:
    one for each GPU of the cluster, where it has none one for each node, if that is None. `report` is told
    of each task. Raises `AttnRulesError` where Ray is not installed or no cluster answers, and one that names
    the task, the machine and the cause of the first failure; what was finished stays.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise AttnRulesError("--ray: Ray is not installed; run pip install 'attnrules[ray]'") from error
    with _connected(ray, address):
        if tasks.loads:
            _run_actors(ray, tasks, means, report, n_actors)
        else:
            _run_tasks(ray, tasks, means, report)


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    # Whatever keeps Ray from a cluster has a class of its own: no address, a token, a version.
    except Exception as error:
        raise AttnRulesError(f"--ray {address}: no Ray cluster can be used: {one_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _run_tasks(ray: Any, tasks: Tasks, means: Means, report: Report) -> None:
    limit = _memory_limit(ray, means)
    options = {"num_cpus": 1, "memory": bytes_of_process(limit), "max_retries": _RETRIES}
    do = ray.remote(_do_one).options(**options)
    waiting = {do.remote(str(tasks.lake), task, limit): task for task in tasks.pending()}
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        task = waiting.pop(done)
        _take(ray, done, tasks, task)
        report(task, len(waiting))


def _memory_limit(ray: Any, means: Means) -> str:
    """Return what DuckDB may hold in a task; raises `AttnRulesError` where no node has room for it.

    Ray would wait for such a node without a word.
    """
    most = max((node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]), default=0)
    asked = means.memory_limit
    if asked is None:
        fits = min(bytes_of_process(DEFAULT_LIMIT), int(most))
        return f"{fits // (2 * 10**6)}MB"
    if bytes_of_process(asked) > most:
        raise AttnRulesError(
            f"--memory-limit {asked}: a task asks Ray for twice as much, and its largest node has"
            f" {most / 1e9:.1f} GB"
        )
    return asked


def _take(ray: Any, done: Any, tasks: Tasks, task: int) -> None:
    """Raise `AttnRulesError` where a task failed."""
    try:
        ray.get(done)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise AttnRulesError(f"{failure_of(tasks, task)}: {one_line(cause)}") from error


def _run_actors(ray: Any, tasks: Tasks, means: Means, report: Report, n_actors: int | None) -> None:
    pending = tasks.pending()
    n_gpus = 0 if means.device == "cpu" else int(ray.cluster_resources().get("GPU", 0))
    n = min(n_actors or n_gpus or sum(node["Alive"] for node in ray.nodes()), len(pending))
    options = {"num_cpus": 1, "num_gpus": min(n_gpus, 1), "max_restarts": _RETRIES}
    kind = ray.remote(_Actor).options(**options, max_task_retries=_RETRIES)
    idle = [kind.remote(str(tasks.lake), means) for _ in range(n)]
    working: dict[Any, tuple[int, Any]] = {}
    left = len(pending)
    while left:
        while pending and idle:
            task, actor = pending.pop(0), idle.pop()
            working[actor.do.remote(task)] = task, actor
        # An actor without work goes, and leaves its place to one whose node is lost.
        idle.clear()
        (done,), _ = ray.wait(list(working), num_returns=1)
        task, actor = working.pop(done)
        _take(ray, done, tasks, task)
        idle.append(actor)
        left -= 1
        report(task, left)


class _Actor:
    """A process of the cluster that loads what its tasks need when it does the first."""

    def __init__(self, lake: str, means: Means) -> None:
        self._lake = lake
        self._means = means
        self._open = ExitStack()
        self._do: Callable[[int], bool] | None = None

    def do(self, task: int) -> None:
        with named_machine():
            if self._do is None:
                self._do = self._open.enter_context(_tasks(self._lake).worker(self._means))
            self._do(task)


def _do_one(lake: str, task: int, memory_limit: str) -> None:
    with named_machine():
        _tasks(lake).perform(task, Means(1, memory_limit))


def _tasks(lake: str) -> Tasks:
    tasks = begun(Path(lake))
    if tasks is None:
        raise AttnRulesError(f"{lake}: holds no tasks; do all nodes see the folder?")
    return tasks


@contextmanager
def named_machine() -> Iterator[None]:
    """Let a failure say on which machine it was."""
    try:
        yield
    except Exception as error:
        said = (
            str(error) if isinstance(error, AttnRulesError) else f"{type(error).__name__}: {one_line(error)}"
        )
        raise AttnRulesError(f"{said} (on {socket.gethostname()})") from error
