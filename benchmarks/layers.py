"""What it costs to refresh the layers of a lake, in one process and by a task each.

python -m benchmarks.layers W.duckdb --copies 3

Makes in a temporary folder a warehouse that has the layers of W so many times more, under numbers of their
own, without what was mined, and a lake of it. Prints processor seconds of one thread: of the file and of the
lake refreshed by one process, of each task, in a process of its own, and of storing what all tasks found; and
the most memory that a task held. Ends with an error where the digests of the three are not the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from attnrules import sql
from attnrules.layer_tasks import LayerTasks
from attnrules.tasks import unused_name
from attnrules.warehouse import Warehouse, digests
from attnrules.warehouse.convert import convert
from benchmarks.many_machines import processor_seconds

_DIGESTS = "SELECT * EXCLUDE run_id FROM digests WHERE table_name <> 'runs' ORDER BY ALL"


def widen(path: Path, n_copies: int) -> list[int]:
    """Add copies of all layers to a warehouse, forget what was mined, and return its layers."""
    mined = {*digests.mined_tables(), "digests"}
    with Warehouse.open(path, writable=True) as warehouse, warehouse.transaction():
        layers = warehouse.layers()
        step = max(layers) + 1
        for table in sql.table_names():
            columns = sql.table_columns(table)
            if table in mined and table != "digests":
                warehouse.execute(f"DELETE FROM {table}")
            elif "layer" in columns and table != "digests":
                warehouse.execute(
                    f"INSERT INTO {table} SELECT * EXCLUDE copy"
                    " REPLACE ((layer + copy * $step)::SMALLINT AS layer)"
                    f" FROM {table}, range(1, $end) AS copies (copy)",
                    {"step": step, "end": n_copies + 1},
                )
        warehouse.execute(
            "UPDATE chunks SET heads = list_sort(flatten([list_transform(heads, LAMBDA head:"
            " regexp_replace(head, '^L[0-9]+', 'L' || (regexp_extract(head, '^L([0-9]+)', 1)::INTEGER"
            " + copy * $step))) FOR copy IN range(0, $end)]))",
            {"step": step, "end": n_copies + 1},
        )
        warehouse.execute("UPDATE model SET n_layers = n_layers * $end", {"end": n_copies + 1})
        digests.stamp(warehouse)
        warehouse.execute(sql.ledger_statement("restrict_chunks"), {"layers": None, "heads": None})
        warehouse.stamp("chunks")
        return warehouse.layers()


def refresh(path: Path) -> float:
    """Refresh a warehouse by one thread of this process and return the processor seconds."""
    with Warehouse.open(path, writable=True) as warehouse:
        warehouse.execute("SET threads = 1")
        warehouse.outdate_derived()
        return processor_seconds(warehouse.refresh_derived)


def begin(lake: Path, layers: list[int]) -> LayerTasks:
    """Return new tasks that refresh the layers of a lake."""
    with Warehouse.open(lake, writable=True) as warehouse:
        warehouse.outdate_derived()
        run_id = warehouse.next_run_id()
    unfinished = unused_name(lake)
    unfinished.mkdir()
    return LayerTasks(lake, "ingest", {}, run_id, layers, {}).store(unfinished)


def elsewhere(lake: Path, task: int) -> tuple[float, float]:
    """Do a task in a process of its own; return its processor seconds and the most memory it held, GB."""
    words = [sys.executable, "-m", "attnrules", "worker", str(lake), "--threads", "1", "--task", str(task)]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def store(tasks: LayerTasks) -> None:
    """Store what all tasks found."""
    with Warehouse.open(tasks.lake, writable=True) as warehouse:
        tasks.replace(warehouse)
    tasks.remove()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--copies", type=int, default=3, help="copies added of each layer")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, lake = Path(shutil.copy(given.warehouse, f"{folder}/w.duckdb")), Path(folder) / "lake"
        layers = widen(file, given.copies)
        refresh(file)
        size = convert(file, lake).n_bytes
        with Warehouse.open(lake) as warehouse:
            expected = warehouse.rows(_DIGESTS)
        print(f"{len(layers)} layers, MB: {size[0] / 1e6:.0f} as a file, {size[1] / 1e6:.0f} as a lake")
        print(f"catalogue, MB: {(lake / 'catalogue.duckdb').stat().st_size / 1e6:.1f}")
        for path in (file, lake):
            print(f"one process, {path.name}: {refresh(path):.1f} s")
        tasks = begin(lake, layers)
        costs = [elsewhere(lake, task) for task in tasks.pending()]
        print("tasks, s:", *(f"{seconds:.1f}" for seconds, _ in costs))
        print(f"in all, s: {sum(seconds for seconds, _ in costs):.1f}")
        print(f"most memory of a task, GB: {max(held for _, held in costs):.2f}")
        print(f"storing, s: {processor_seconds(partial(store, tasks)):.2f}")
        for path in (file, lake):
            with Warehouse.open(path) as warehouse:
                assert warehouse.rows(_DIGESTS) == expected, path


if __name__ == "__main__":
    main()
