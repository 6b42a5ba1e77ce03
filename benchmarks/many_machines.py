"""What a lake and its tasks cost, and what bounds mining on many machines.

python -m benchmarks.many_machines W.duckdb --layer 1 --heads 3 --features 3

Makes a lake of the warehouse in a temporary folder and prints, in processor seconds of one thread: sizes and
scans, of the file and of the lake; what a task costs besides mining, in a process of its own, and of that
the start of the process, its modules and the reading of the plan; and what storing a head costs. Then it
places heads of the costs measured, and of those that `--head-seconds` and `--head-gigabytes` give, on
machines of `--cores` and `--gigabytes`, each head on whichever is free first. It names what bounds it: the
memory of tasks, processors, the longest head, or storing, which one process does.
"""

from __future__ import annotations

import argparse
import heapq
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from attnrules.mining_tasks import MiningTasks
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse
from attnrules.warehouse.convert import convert

_REPEATS = 5
_SCANS = {
    "a head": "SELECT sum(weight) FROM attention_sources WHERE layer = $layer AND head = $head",
    "a sequence": "SELECT sum(weight) FROM attention_sources"
    " WHERE layer = $layer AND head = $head AND seq_id = 17",
}
_MACHINES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Machine:
    """Processors and memory, GB, of each machine."""

    cores: int
    gigabytes: float


@dataclass(frozen=True)
class Placed:
    """How long it takes, in seconds of the clock, and what bounds it."""

    seconds: float
    bound: str


def place(
    heads: Sequence[float], gigabytes: float, merge: float, n_machines: int, machine: Machine, cores: int = 1
) -> Placed:
    """Place heads of these processor seconds, each of which takes `gigabytes` and `cores`, on machines.

    `merge`: processor seconds of storing a head, one after the other, at the end.
    """
    by_memory, by_cores = int(machine.gigabytes // gigabytes), machine.cores // cores
    if not min(by_memory, by_cores):
        raise ValueError("a machine holds no task")
    n_slots = n_machines * min(by_memory, by_cores)
    slots = [0.0] * n_slots
    for seconds in sorted(heads, reverse=True):
        heapq.heapreplace(slots, slots[0] + seconds / cores)
    mining, storing = max(slots), merge * len(heads)
    if storing > mining:
        bound = "storing"
    elif n_slots >= len(heads):
        bound = "the longest head"
    else:
        bound = "memory of tasks" if by_memory < by_cores else "processors"
    return Placed(mining + storing, bound)


def processor_seconds(work: Callable[[], object], who: int = resource.RUSAGE_SELF) -> float:
    """Return the processor seconds, user and system, that `work` takes, of this process or its children."""
    before = resource.getrusage(who)
    work()
    after = resource.getrusage(who)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def print_scans(file: Path, lake: Path, layer: int, head: int) -> None:
    """Print how long one thread reads a head, and a sequence of it, in both."""
    for name, query in _SCANS.items():
        seconds = []
        for path in (file, lake):
            with Warehouse.open(path, writable=True) as warehouse, warehouse.session():
                warehouse.execute("SET threads = 1")

                def read(opened: Warehouse = warehouse, text: str = query) -> None:
                    for _ in range(_REPEATS):
                        opened.rows(text, {"layer": layer, "head": head})

                # What is read first is cached by the system for both.
                read()
                seconds.append(processor_seconds(read) / _REPEATS)
        print(f"scan of {name}, ms: {_ratio(*(1e3 * found for found in seconds))}")


def _ratio(file: float, lake: float) -> str:
    return f"{file:.1f} -> {lake:.1f}, {lake / file:.2f}"


def measure(file: Path, lake: Path, spec: SkipgramSpec) -> tuple[list[float], float]:
    """Print what tasks and storing cost; return the seconds of each task and of storing a head."""
    here = Path(shutil.copytree(lake, lake.with_name("here")))
    in_file, in_lake = (_mine_here(path, spec) for path in (file, here))
    tasks = MiningTasks.begin(lake, "mine skipgrams", spec)
    heads = [_mine_elsewhere(lake, task) for task in tasks.pending()]
    n = len(heads)
    # A task that is done already begins and ends.
    start = min(_mine_elsewhere(lake, 0) for _ in range(_REPEATS))
    storing = processor_seconds(tasks.finish) / n
    print(f"mining {n} heads here, s: {_ratio(in_file, in_lake)}")
    print(f"the same by {n} processes, s: {sum(heads):.1f}, {(sum(heads) - in_lake) / n:.2f} a task besides")
    print(f"of that the start of a process, s: {start:.2f}")
    print(f"storing a head, s: {storing:.2f}")
    return heads, storing


def _mine_here(path: Path, spec: SkipgramSpec) -> float:
    with Warehouse.open(path, writable=True) as warehouse:
        warehouse.execute("SET threads = 1")
        return processor_seconds(partial(mine_skipgrams, warehouse, spec))


def _mine_elsewhere(lake: Path, task: int) -> float:
    words = [sys.executable, "-m", "attnrules", "worker", str(lake), "--threads", "1", "--task", str(task)]
    work = partial(subprocess.run, words, check=True, capture_output=True)
    return processor_seconds(work, resource.RUSAGE_CHILDREN)


def print_placed(
    what: str, heads: Sequence[float], gigabytes: float, storing: float, machine: Machine
) -> None:
    """Print how long it takes on ever more machines."""
    for n in _MACHINES:
        placed = place(heads, gigabytes, storing, n, machine)
        print(f"{what}, {n} machines: {placed.seconds / 60:.1f} min, bound by {placed.bound}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--heads", type=int, default=3, help="heads of the layer that are mined")
    parser.add_argument("--features", type=int, default=3)
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--gigabytes", type=float, default=64)
    parser.add_argument("--head-seconds", type=float, default=1100)
    parser.add_argument("--head-gigabytes", type=float, default=8)
    given = parser.parse_args()
    spec = SkipgramSpec(n_features=given.features, layers=(given.layer,), heads=tuple(range(given.heads)))
    with tempfile.TemporaryDirectory() as folder:
        file, lake = Path(shutil.copy(given.warehouse, f"{folder}/w.duckdb")), Path(folder) / "lake"
        sizes = convert(file, lake).n_bytes
        print(f"size, MB: {_ratio(sizes[0] / 1e6, sizes[1] / 1e6)}")
        print_scans(file, lake, given.layer, 0)
        measured, storing = measure(file, lake, spec)
    small, large = list(islice(cycle(measured), 8)), [given.head_seconds] * 144
    machine = Machine(given.cores, given.gigabytes)
    for what, heads in (("8 such heads", small), ("144 heads of the costs given", large)):
        print_placed(what, heads, given.head_gigabytes, storing, machine)


if __name__ == "__main__":
    main()
