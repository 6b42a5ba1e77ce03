"""The heads of a lake mined by several processes: what they store is what one process stores."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnrules import mining_tasks, workers
from attnrules.commands import mine
from attnrules.commands.progress import Reporter
from attnrules.errors import AttnRulesError, UsageError, WarehouseUnavailableError
from attnrules.mining_tasks import PLANS, MiningTasks
from attnrules.queries.absence import AbsenceSpec
from attnrules.queries.counting import CountingSpec
from attnrules.queries.heads import FeatureId, Spec
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.spread import Means
from attnrules.warehouse import Warehouse, check
from attnrules.warehouse.convert import convert
from benchmarks.compare_warehouses import compare
from benchmarks.many_machines import Machine, Placed, place
from tests.tiny import keep_log

ROOT = Path(__file__).parent.parent
SPEC = SkipgramSpec(n_features=2, examples_per_split=4, layers=(0,), heads=(0, 1), example_sets=("paper",))
WORDS = (
    "--features",
    2,
    "--examples-per-split",
    4,
    "--layers",
    0,
    "--heads",
    "0,1",
    "--example-sets",
    "paper",
)


@pytest.fixture(scope="module")
def lake_once(small_ingested_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that is not mined. Not to be written to."""
    folder = tmp_path_factory.mktemp("lake") / "lake"
    convert(small_ingested_once, folder)
    return folder


@pytest.fixture
def lake(lake_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lake_once, tmp_path / "lake"))


@pytest.fixture(scope="module")
def mined_file(small_ingested_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same warehouse as a file, mined by one process."""
    path = Path(shutil.copy(small_ingested_once, tmp_path_factory.mktemp("file") / "w.duckdb"))
    with Warehouse.open(path, writable=True) as warehouse:
        mine_skipgrams(warehouse, SPEC)
    return path


def assert_mined_like(lake: Path, file: Path) -> None:
    assert {path.name for path in lake.iterdir()} <= {"catalogue.duckdb", "facts", "results"}
    with Warehouse.open(lake, writable=True) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []
        listed = warehouse.files_of("rule_scores", 0, 0) + warehouse.files_of("rule_scores", 0, 1)
    assert sorted(listed) == sorted((lake / "results").rglob("*.*"))
    back = lake.with_name("back.duckdb")
    convert(lake, back)
    assert compare(file, back) == []
    back.unlink()


def test_workers_store_what_one_process_stores(
    lake: Path, mined_file: Path, attnrules: Callable[..., Any]
) -> None:
    told = attnrules("mine", "skipgrams", lake, *WORDS, "--workers", 2)
    assert told.code == 0, told.err
    first, *mined, storing, stored, last = told.err.splitlines()[:6]
    assert first == "mining ..."
    assert sorted(line[:10] for line in mined) == ["L0H0 mined", "L0H1 mined"]
    assert mined[-1].endswith(" mined, 0 of 2 heads to go")
    assert (storing, stored, last) == ("storing what was mined ...", "  1 of 2 heads", "  2 of 2 heads")
    assert_mined_like(lake, mined_file)
    with Warehouse.open(lake) as warehouse, Warehouse.open(mined_file) as file:
        query = "SELECT DISTINCT run_id FROM rules"
        assert warehouse.value("SELECT max(run_id) FROM runs WHERE status = 'done'") == warehouse.value(query)
        assert warehouse.value("SELECT count(*) FROM digests WHERE table_name = 'rules'") == file.value(
            "SELECT count(*) FROM digests WHERE table_name = 'rules'"
        )


class Terminal(io.StringIO):
    """What stands for a terminal of 100 columns."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_bar_for_the_features_of_all_workers(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    sizes = [len(features) for _, _, features in tasks.heads]
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Reporter() as reporter:
        report = mine.of_all_workers(tasks, reporter)
        report(1, 1)
    shown = terminal.getvalue()
    for n, heads in ((0, 0), (sizes[1], 1)):
        assert re.search(rf"{n}/{sum(sizes)}\S* .*features; {heads} of 2 heads", shown)
    assert "mined" not in shown


@pytest.mark.parametrize(
    ("command", "spec"),
    [
        ("mine absence", AbsenceSpec(max_examples=10, layers=(0,), n_features=4)),
        ("mine counting", CountingSpec(min_support=1, layers=(0,), n_features=4)),
    ],
)
def test_other_rules_are_those_of_one_process_too(
    lake: Path, small_ingested_once: Path, tmp_path: Path, command: str, spec: Spec
) -> None:
    file = Path(shutil.copy(small_ingested_once, tmp_path / "file.duckdb"))
    with Warehouse.open(file, writable=True) as warehouse:
        here = PLANS[command][1](warehouse, spec).all_heads()
    tasks = MiningTasks.begin(lake, command, spec)
    for task in reversed(tasks.pending()):
        tasks.perform(task, Means(threads=1))
    assert tasks.finish() == here
    assert_mined_like(lake, file)


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A folder on another file system than temporary files."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def test_folders_of_a_lake_may_be_links_to_another_disk(
    lake: Path, mined_file: Path, other_disk: Path
) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", replace(SPEC, heads=(1,)))
    tasks.perform(0)
    tasks.finish()
    for folder in ("facts", "results"):
        (lake / folder).symlink_to(shutil.move(lake / folder, other_disk / folder))
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    for task in tasks.pending():
        tasks.perform(task)
    tasks.finish()
    assert_mined_like(lake, mined_file)


def test_tasks_for_which_there_is_no_room_leave_nothing(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(AttnRulesError, match="lake/tasks: cannot be made: No space left on device"):
        MiningTasks.begin(lake, "mine skipgrams", SPEC)
    assert {path.name for path in lake.iterdir()} == {"catalogue.duckdb", "facts"}


def test_of_two_drivers_that_begin_at_a_time_one_is_told(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = MiningTasks.begin
    plan = MiningTasks.plan

    def after_another(tasks: MiningTasks) -> dict[str, Any]:
        monkeypatch.setattr(MiningTasks, "plan", plan)
        begin(lake, "mine skipgrams", SPEC)
        return plan(tasks)

    monkeypatch.setattr(MiningTasks, "plan", after_another)
    with pytest.raises(AttnRulesError, match="another process has begun tasks meanwhile"):
        begin(lake, "mine skipgrams", SPEC)
    assert {path.name for path in lake.iterdir()} == {"catalogue.duckdb", "facts", "tasks"}
    assert begin(lake, "mine skipgrams", SPEC).pending() == [0, 1]


def test_a_catalogue_with_a_log_is_not_copied_without_it(lake: Path) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    shutil.rmtree(tasks.folder)
    keep_log(lake / "catalogue.duckdb", "CREATE TABLE mine (a INTEGER)")
    (lake / "unfinished").mkdir()
    with pytest.raises(WarehouseUnavailableError, match="could not be moved into the file"):
        tasks.store(lake / "unfinished")


def test_heads_that_were_mined_before_are_mined_again_or_otherwise(
    lake: Path, mined_file: Path, tmp_path: Path
) -> None:
    file = Path(shutil.copy(mined_file, tmp_path / "file.duckdb"))
    with Warehouse.open(lake, writable=True) as warehouse:
        mine_skipgrams(warehouse, SPEC)
        ((feature, other),) = warehouse.rows(
            "SELECT min(feature), max(feature) FROM rule_scores WHERE head = 0"
        )
    of_one = replace(SPEC, n_features=None, features=(FeatureId(0, 0, feature),), seed=3, heads=None)
    assert other != feature
    commands = (("mine skipgrams", of_one), ("mine absence", AbsenceSpec(max_examples=10, layers=(0,))))
    for command, spec in commands:
        before = {*(lake / "results").rglob("*.*")}
        with Warehouse.open(file, writable=True) as warehouse:
            PLANS[command][1](warehouse, spec).all_heads()
        tasks = MiningTasks.begin(lake, command, spec)
        for task in tasks.pending():
            tasks.perform(task)
        assert {*(lake / "results").rglob("*.*")} == before
        tasks.finish()
        assert_mined_like(lake, file)
        # Of a head whose values stay as they are, so do its files.
        after = {*(lake / "results").rglob("*.*")}
        assert len(before - after) == (1 if command == "mine skipgrams" else 0)


def test_a_task_is_done_once(lake: Path) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    assert tasks.perform(0)
    assert not tasks.perform(0)
    assert tasks.pending() == [1]
    with pytest.raises(AttnRulesError, match="L0H1 is not mined yet"):
        tasks.finish()


def test_of_two_that_do_a_task_the_first_counts(lake: Path, tmp_path: Path) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows").touch()
    assert tasks._take_place(tmp_path / "first", tasks.done(0))
    assert not tasks._take_place(tmp_path / "second", tasks.done(0))


def test_killed_workers_and_drivers_leave_nothing_and_the_rest_is_skipped(
    lake: Path, mined_file: Path
) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    tasks.perform(1)
    words = [sys.executable, "-m", "attnrules", "worker", str(lake), "--task", "0"]
    process = subprocess.Popen(words, cwd=ROOT)
    while not list((lake / "tasks").glob(".L0H0.*/lake/*.duckdb")):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    assert again.pending() == [0]
    assert again.perform(0)
    again.finish()
    assert_mined_like(lake, mined_file)


def test_storing_what_was_found_goes_on_after_an_interrupt(
    lake: Path, mined_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    for task in tasks.pending():
        tasks.perform(task)

    def interrupted(warehouse: Warehouse, layer: int, head: int, features: Any, folder: Path) -> None:
        if head == 1:
            raise KeyboardInterrupt
        store(warehouse, layer, head, features, folder)

    store = mining_tasks.replace_mined
    monkeypatch.setattr(mining_tasks, "replace_mined", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tasks.finish()
    monkeypatch.setattr(mining_tasks, "replace_mined", store)
    MiningTasks.begin(lake, "mine skipgrams", SPEC).finish()
    assert_mined_like(lake, mined_file)


def test_a_lake_that_another_command_wrote_to_is_refused(lake: Path) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    for task in tasks.pending():
        tasks.perform(task)
    with Warehouse.open(lake, writable=True) as warehouse:
        mine_skipgrams(warehouse, replace(SPEC, seed=1))
    with pytest.raises(AttnRulesError, match="was written to after these tasks began"):
        tasks.finish()


def test_a_driver_killed_after_it_stored_everything_only_removes_the_tasks(
    lake: Path, mined_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: MiningTasks) -> None:
        raise KeyboardInterrupt

    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    for task in tasks.pending():
        tasks.perform(task)
    with monkeypatch.context() as patch:
        patch.setattr(MiningTasks, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tasks.finish()
    assert len(MiningTasks.begin(lake, "mine skipgrams", SPEC).finish().heads) == 2
    assert_mined_like(lake, mined_file)


def test_what_is_said_is_read_before_another_process_can_take_the_file(
    small_ingested_once: Path, tmp_path: Path, attnrules: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(small_ingested_once, tmp_path / "w.duckdb"))
    taking = f"import duckdb; duckdb.connect({str(path)!r})"

    def said(*_: object) -> str:
        taken = subprocess.run([sys.executable, "-c", taking], capture_output=True, text=True, check=False)
        assert "Could not set lock" in taken.stderr
        return "as accurate as it is"

    monkeypatch.setattr(mine, "typical_list_words", said)
    told = attnrules("mine", path, *WORDS)
    assert told.code == 0
    assert "L0H1: as accurate as it is" in told.err


def test_tasks_of_other_options_are_named(lake: Path) -> None:
    MiningTasks.begin(lake, "mine skipgrams", SPEC)
    with pytest.raises(AttnRulesError, match="holds unfinished tasks of `mine skipgrams` with other options"):
        MiningTasks.begin(lake, "mine absence", AbsenceSpec())


def test_workers_need_a_lake(small: Path) -> None:
    with pytest.raises(UsageError, match="is no lake"):
        MiningTasks.begin(small, "mine skipgrams", SPEC)


def test_a_failed_task_is_named_with_its_cause(lake: Path) -> None:
    tasks = MiningTasks.begin(lake, "mine skipgrams", SPEC)
    ((lake / "tasks") / "catalogue.duckdb").write_bytes(b"no database")
    with pytest.raises(AttnRulesError, match=r"L0H[01]: could not be mined: .*not a DuckDB database"):
        workers.run_processes(tasks, 1, Means(), lambda *_: None)


@pytest.mark.parametrize(
    ("workers", "array", "elements"), [((), "0-1", ("0", "1", "1")), (("--workers", 1), "0-0", ("0",))]
)
def test_the_elements_of_a_slurm_array_mine_the_heads(
    lake: Path,
    mined_file: Path,
    tmp_path: Path,
    attnrules: Callable[..., Any],
    workers: tuple[object, ...],
    array: str,
    elements: tuple[str, ...],
) -> None:
    script = tmp_path / "mine.sh"
    assert attnrules("mine", "skipgrams", lake, *WORDS, "--slurm", script, *workers).code == 0
    text = script.read_text()
    assert f"#SBATCH --array={array}\n" in text
    assert "#SBATCH --mem=7630M\n" in text
    for task in elements:
        subprocess.run(["sh", script], env={**os.environ, "SLURM_ARRAY_TASK_ID": task}, cwd=ROOT, check=True)
    assert attnrules("mine", "skipgrams", lake, *WORDS, "--workers", 1).code == 0
    assert_mined_like(lake, mined_file)


def test_a_task_that_there_is_none_of_is_refused(lake: Path, attnrules: Callable[..., Any]) -> None:
    told = attnrules("worker", lake, "--task", 0)
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "holds no tasks" in told.err
    MiningTasks.begin(lake, "mine skipgrams", SPEC)
    told = attnrules("worker", lake, "--task", 2)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "there are tasks 0 to 1" in told.err


def test_heads_are_placed_where_a_machine_is_free() -> None:
    machine = Machine(cores=4, gigabytes=16)
    # Two fit a machine: 5 + 1 seconds on one slot, 3 + 3 on the other.
    assert place([5, 3, 3, 1], 8, 0.5, 1, machine) == Placed(8, "memory of tasks")
    assert place([5, 3, 3, 1], 8, 0.5, 2, machine) == Placed(7, "the longest head")
    assert place([5, 3, 3, 1], 2, 0.5, 1, Machine(2, 16)) == Placed(8, "processors")
    assert place([1, 1], 8, 3, 1, machine) == Placed(7, "storing")
    with pytest.raises(ValueError, match="holds no task"):
        place([1], 32, 0, 1, machine)
