"""The heads of a lake mined by a Ray cluster, whose nodes all see its folder under one path."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError, one_line
from attnrules.workers import DEFAULT_LIMIT, Report, Tasks, bytes_of_process

# Times that Ray starts a task anew whose process was killed or whose node is lost; one that raises, never.
_RETRIES = 2


def run_on_ray(tasks: Tasks, address: str, memory_limit: str | None, report: Report) -> None:
    """Do what is pending on the Ray cluster at `address`, `auto` for the one that runs here.

    Each task asks for a processor and for twice what DuckDB may hold; `report` is told of each. Raises
    `AttnRulesError` where Ray is not installed or no cluster answers, and one that names the head, the
    machine and the cause of the first failure; what was finished stays.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise AttnRulesError("--ray: Ray is not installed; run pip install 'attnrules[ray]'") from error
    limit = memory_limit or DEFAULT_LIMIT
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, address)
    try:
        options = {"num_cpus": 1, "memory": bytes_of_process(limit), "max_retries": _RETRIES}
        mine = ray.remote(_mine).options(**options)
        # Absolute, for a task runs in a folder of Ray's.
        lake = str(tasks.lake.resolve())
        _wait(ray, tasks, {mine.remote(lake, task, limit): task for task in tasks.pending()}, report)
    finally:
        if is_ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    # Whatever keeps Ray from a cluster has a class of its own: no address, a token, a version.
    except Exception as error:
        raise AttnRulesError(f"--ray {address}: no Ray cluster can be used: {one_line(error)}") from error


def _wait(ray: Any, tasks: Tasks, waiting: dict[Any, int], report: Report) -> None:
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        name = tasks.name(waiting.pop(done))
        try:
            ray.get(done)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            raise AttnRulesError(f"{name}: could not be mined: {one_line(cause)}") from error
        report(f"{name} mined, {len(waiting)} heads to go")


def _mine(lake: str, task: int, memory_limit: str) -> None:
    tasks = Tasks.begun(Path(lake))
    if tasks is None:
        raise AttnRulesError(
            f"{lake}: holds no tasks on {socket.gethostname()}; do all nodes see the folder?"
        )
    try:
        tasks.perform(task, threads=1, memory_limit=memory_limit)
    except AttnRulesError as error:
        raise AttnRulesError(f"{error} (on {socket.gethostname()})") from error
