"""The heads of a lake mined by a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestProgress, IngestSpec
from attnrules.ingest.pipeline import REFRESHING
from attnrules.ingest_tasks import IngestTasks, ingest_shared
from attnrules.mining_tasks import MiningTasks
from attnrules.queries.skipgrams import SkipgramResult, SkipgramSpec, mine_skipgrams
from attnrules.ray_workers import named_machine, run_on_ray
from attnrules.spread import Means, Spread
from attnrules.warehouse import Warehouse
from attnrules.warehouse.convert import convert
from benchmarks.compare_warehouses import compare

SPEC = SkipgramSpec(n_features=2, examples_per_split=4, layers=(0,), heads=(0, 1), example_sets=("paper",))
MEANS = Means(memory_limit="500MB")


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Any, Any]]:
    """A cluster of two nodes, and the second of them."""
    pytest.importorskip("ray", reason="Ray is not installed; pip install 'attnrules[ray]'")
    # A small or busy machine takes long to start one.
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
    from ray.cluster_utils import Cluster

    sizes = {"num_cpus": 1, "memory": 2 << 30, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=sizes)
    second = cluster.add_node(**{name: size for name, size in sizes.items() if name != "include_dashboard"})
    cluster.wait_for_nodes()
    yield cluster, second
    cluster.shutdown()


@pytest.fixture
def lake(small_ingested_once: Path, tmp_path: Path) -> Path:
    convert(small_ingested_once, tmp_path / "lake")
    return tmp_path / "lake"


@pytest.fixture(scope="module")
def mined(small_ingested_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SkipgramResult]:
    """The same warehouse as a file, mined by one process, and what that returned."""
    file = Path(shutil.copy(small_ingested_once, tmp_path_factory.mktemp("file") / "w.duckdb"))
    with Warehouse.open(file, writable=True) as warehouse:
        return file, mine_skipgrams(warehouse, SPEC)


def assert_nothing_left(lake: Path, *made: str) -> None:
    assert sorted(path.name for path in lake.iterdir()) == ["catalogue.duckdb", "facts", *made]


def assert_finished_like(tasks: MiningTasks, mined: tuple[Path, SkipgramResult]) -> None:
    assert tasks.finish() == mined[1]
    back = tasks.lake.with_name("back.duckdb")
    convert(tasks.lake, back)
    assert compare(mined[0], back) == []
    assert_nothing_left(tasks.lake, "results")


def test_a_cluster_stores_what_one_process_stores(
    cluster: tuple[Any, Any], lake: Path, mined: tuple[Path, SkipgramResult]
) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    left: list[int] = []
    run_on_ray(tasks, cluster[0].address, MEANS, lambda _, n_left: left.append(n_left))
    assert left == [1, 0]
    assert_finished_like(tasks, mined)


def test_a_task_that_fails_is_named_and_not_repeated(cluster: tuple[Any, Any], lake: Path) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    ((lake / "tasks") / "catalogue.duckdb").write_bytes(b"no database")
    with pytest.raises(AttnRulesError, match=r"^L0H[01]: could not be mined: .*not a DuckDB database.*\(on "):
        run_on_ray(tasks, cluster[0].address, MEANS, lambda *_: None)


def test_a_limit_that_no_node_has_room_for_is_refused(cluster: tuple[Any, Any], lake: Path) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    with pytest.raises(AttnRulesError, match=r"--memory-limit 4GB: .* its largest node has 2\.1 GB"):
        run_on_ray(tasks, cluster[0].address, Means(memory_limit="4GB"), lambda *_: None)


def test_a_fault_of_ours_is_named_with_its_machine_too() -> None:
    with pytest.raises(AttnRulesError, match=r"^ValueError: odd \(on "), named_machine():
        raise ValueError("odd")


def actors() -> list[int]:
    """Return the processes that capture, of those that this one has started."""
    parents, names = {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            parents[int(fields["Pid"])] = int(fields["PPid"])
            names[int(fields["Pid"])] = (status.parent / "cmdline").read_text()

    def is_ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and is_ours(parents[pid]))

    return [pid for pid, name in names.items() if "ray::_Actor" in name and is_ours(pid)]


def test_an_ingest_survives_a_killed_actor(
    cluster: tuple[Any, Any], small_spec: IngestSpec, small_ingested_once: Path, tmp_path: Path
) -> None:
    spec = replace(small_spec, device="cpu")
    tasks = IngestTasks.begin(tmp_path / "lake", spec, lambda _: None)
    killed: list[int] = []

    def kill_one() -> None:
        while not list(tasks.folder.glob(".seqs-*/rows")):
            time.sleep(0.005)
        killed.append(min(actors()))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill_one)
    thread.start()
    left: list[int] = []
    run_on_ray(tasks, cluster[0].address, Means(device="cpu"), lambda _, n_left: left.append(n_left))
    thread.join()
    assert killed
    assert left == [1, 0]
    stages: list[IngestProgress] = []
    ingest_shared(tasks.lake, spec, Spread(ray=cluster[0].address), stages.append)
    assert IngestProgress(REFRESHING, 2, 2, "layers") in stages
    assert_nothing_left(tasks.lake)
    convert(tasks.lake, tmp_path / "back.duckdb")
    assert compare(small_ingested_once, tmp_path / "back.duckdb") == []


def test_the_tasks_of_a_lost_node_are_done_by_others(
    cluster: tuple[Any, Any], lake: Path, mined: tuple[Path, SkipgramResult]
) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    running: list[int] = []

    def lose_a_node() -> None:
        while len(list((lake / "tasks").glob(".L0H*/lake/catalogue.duckdb"))) < 2:
            time.sleep(0.02)
        running.extend(tasks.pending())
        cluster[0].remove_node(cluster[1], allow_graceful=False)

    thread = threading.Thread(target=lose_a_node)
    thread.start()
    run_on_ray(tasks, cluster[0].address, MEANS, lambda *_: None)
    thread.join()
    assert running == [0, 1]
    assert_finished_like(tasks, mined)


def test_without_ray_it_says_how_to_get_it(
    lake: Path, attnrules: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    told = attnrules("mine", "absence", lake, "--layers", 0, "--ray", "auto")
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "pip install 'attnrules[ray]'" in told.err
