"""An ingest that several processes share: the lake holds what one process stores in a file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest import IngestProgress, IngestSpec, ingest, shared
from attnrules.ingest.devices import devices_of_workers
from attnrules.ingest_tasks import IngestTasks, ingest_shared
from attnrules.layer_tasks import LayerTasks
from attnrules.mining_tasks import MiningTasks
from attnrules.queries.absence import AbsenceSpec
from attnrules.spread import Means, Spread
from attnrules.warehouse import Warehouse, check, derived
from attnrules.warehouse.convert import convert
from benchmarks.compare_warehouses import compare
from tests.planted import PlantedModel
from tests.test_layer_saes import ATTN_OUT, spec_of, write_model, write_sae

CPU = Means(device="cpu")


def silent(_: IngestProgress) -> None:
    pass


def begin(lake: Path, spec: IngestSpec) -> IngestTasks:
    return IngestTasks.begin(lake, spec, silent)


def capture(tasks: IngestTasks, chosen: list[int] | None = None) -> None:
    with tasks.worker(CPU) as do:
        for task in tasks.pending() if chosen is None else chosen:
            assert do(task)


def words_of(spec: IngestSpec) -> list[object]:
    return [
        *("--model", spec.model, "--input-sae", spec.input_sae, "--output-sae", spec.output_sae),
        *("--corpus", spec.corpus.source, "--seq-len", spec.corpus.seq_len, "--sequences", spec.n_sequences),
        *("--min-attention", 0, "--device", "cpu", "--chunk-size", spec.chunk_size),
    ]


def assert_ingested_like(lake: Path, file: Path) -> None:
    assert sorted(path.name for path in lake.iterdir()) == ["catalogue.duckdb", "facts"]
    back = lake.with_name("back.duckdb")
    convert(lake, back)
    assert compare(file, back) == []
    back.unlink()
    n_files = sum(path.is_file() for path in (lake / "facts").rglob("*"))
    with Warehouse.open(lake, writable=True) as warehouse:
        assert warehouse.value("SELECT max(status) FROM runs") == "done"
        # Nothing lies there that no view lists.
        assert warehouse.compact()[0] == n_files


@pytest.fixture(scope="module")
def captured_once(small_spec: IngestSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose chunks are captured and not stored. Not to be written to."""
    lake = tmp_path_factory.mktemp("captured") / "lake"
    capture(begin(lake, small_spec), [1, 0])
    return lake


@pytest.fixture
def captured(captured_once: Path, small_spec: IngestSpec, tmp_path: Path) -> IngestTasks:
    """The tasks of a private copy of it."""
    shutil.copytree(captured_once, tmp_path / "lake")
    return begin(tmp_path / "lake", small_spec)


def test_what_processes_capture_is_what_one_process_does(
    captured: IngestTasks, small_ingested_once: Path, tmp_path: Path
) -> None:
    tasks = captured
    result = tasks.finish(silent)
    assert (result.n_captured, result.n_sequences) == (96, 96)
    with Warehouse.open(tmp_path / "lake") as warehouse:
        assert warehouse.rows("SELECT command, status FROM runs") == [("ingest", "done")]
        assert [found for found in check(warehouse) if found.n_problems] == []
    assert_ingested_like(tmp_path / "lake", small_ingested_once)


def test_a_killed_worker_is_started_again_and_leaves_nothing(
    small_spec: IngestSpec,
    small_ingested_once: Path,
    tmp_path: Path,
    attnrules: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[subprocess.Popen[str]] = []

    class Kept(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            started.append(self)

    def kill() -> None:
        while not list((tmp_path / "lake/tasks").glob(".seqs-*/rows")):
            time.sleep(0.005)
        os.kill(started[0].pid, signal.SIGKILL)

    monkeypatch.setattr(subprocess, "Popen", Kept)
    thread = threading.Thread(target=kill)
    thread.start()
    told = attnrules("ingest", f"{tmp_path}/lake/", *words_of(small_spec), "--workers", 1)
    thread.join()
    assert told.code == 0, told.err
    assert [process.returncode for process in started] == [-signal.SIGKILL, 0]
    assert "captured 96 sequences" in told.err
    assert_ingested_like(tmp_path / "lake", small_ingested_once)


def test_a_driver_that_was_killed_goes_on_where_it_stopped(
    captured: IngestTasks,
    small_spec: IngestSpec,
    small_ingested_once: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = captured.lake
    first = captured.done(1).rename(tmp_path / "first")
    again = begin(lake, replace(small_spec, device="auto"))
    assert again.pending() == [1]
    with pytest.raises(AttnRulesError, match="seqs-48-48 is not captured yet"):
        again.finish(silent)
    first.rename(captured.done(1))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for place in ("outdate_derived", "refresh_derived"):
        with monkeypatch.context() as patch:
            patch.setattr(Warehouse, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                begin(lake, small_spec).finish(silent)
    begin(lake, small_spec).finish(silent)
    assert_ingested_like(lake, small_ingested_once)


def test_sequences_and_heads_are_added(
    small_spec: IngestSpec, small_ingested_once: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    ingest(lake, replace(small_spec, n_sequences=48, layers=(0,), heads=(0,)), lake=True)
    tasks = begin(lake, small_spec)
    assert tasks.names == ["seqs-0-48", "seqs-48-48"]
    assert tasks.todo.n_before == 48
    capture(tasks)
    tasks.finish(silent)
    assert_ingested_like(lake, small_ingested_once)


def test_what_heads_bring_to_features_of_a_layer_adds_up(planted: PlantedModel, tmp_path: Path) -> None:
    write_model(tmp_path / "model", "gpt2", planted)
    write_sae(tmp_path / "out" / "sae", ATTN_OUT)
    spec = replace(spec_of(planted, tmp_path), chunk_size=2)
    ingest(tmp_path / "file.duckdb", spec)
    tasks = begin(tmp_path / "lake", spec)
    capture(tasks)
    tasks.finish(silent)
    assert_ingested_like(tmp_path / "lake", tmp_path / "file.duckdb")


def test_elements_of_an_array_share_the_chunks(
    captured: IngestTasks,
    small_spec: IngestSpec,
    small_ingested_once: Path,
    tmp_path: Path,
    attnrules: Callable[..., Any],
) -> None:
    lake, script = captured.lake, tmp_path / "ingest.sh"
    shutil.rmtree(captured.done(1))
    words = ("ingest", f"{lake}/", *words_of(small_spec))
    assert attnrules(*words, "--slurm", script, "--workers", 2).code == 0
    text = script.read_text()
    assert "#SBATCH --array=0-1\n" in text
    assert "--gpus" not in text
    assert f'worker {lake} --of 2 --device cpu --task "$SLURM_ARRAY_TASK_ID"' in text
    told = attnrules("worker", lake, "--task", 0, "--of", 2, "--device", "cpu")
    assert told.err == "seqs-0-48: was captured already\n"
    assert (
        attnrules("worker", lake, "--task", 1, "--of", 2, "--device", "cpu").err == "seqs-48-48: captured\n"
    )
    assert attnrules(*words, "--workers", 1).code == 0
    assert_ingested_like(lake, small_ingested_once)


def test_workers_refresh_the_layers(
    captured: IngestTasks, small_spec: IngestSpec, small_ingested_once: Path, attnrules: Callable[..., Any]
) -> None:
    lake = captured.lake
    told = attnrules("ingest", f"{lake}/", *words_of(small_spec), "--workers", 2)
    assert told.code == 0, told.err
    storing, counting, *layers, stored = told.err[: told.err.index("attnrules: note")].splitlines()
    assert (storing, counting) == ("storing what was captured ...", "counting and describing features ...")
    assert (layers[-1], stored) == ("  2 of 2 layers", "storing what was counted ...")
    assert_ingested_like(lake, small_ingested_once)
    with Warehouse.open(lake) as warehouse, Warehouse.open(small_ingested_once) as file:
        query = "FROM digests WHERE table_name <> 'runs' AND chunk_id IS NULL ORDER BY ALL"
        assert warehouse.rows(query) == file.rows(query)
        assert [found for found in check(warehouse) if found.n_problems] == []


def test_a_second_array_refreshes_the_layers(
    captured: IngestTasks,
    small_spec: IngestSpec,
    small_ingested_once: Path,
    tmp_path: Path,
    attnrules: Callable[..., Any],
) -> None:
    lake, script = captured.lake, tmp_path / "layers.sh"
    words = ("ingest", f"{lake}/", *words_of(small_spec), "--slurm", script)
    told = attnrules(*words)
    assert "layers.sh: 2 of 2 tasks to do" in told.err
    text = script.read_text()
    assert "#SBATCH --array=0-1\n" in text
    assert "--gpus" not in text
    assert f'worker {lake} --of 2 --memory-limit 4GB --task "$SLURM_ARRAY_TASK_ID"' in text
    assert attnrules("worker", lake, "--task", 1, "--of", 2).err == "L1: refreshed\n"
    assert "layers.sh: 1 of 2 tasks to do" in attnrules(*words).err
    assert attnrules("worker", lake, "--task", 0, "--of", 2).err == "L0: refreshed\n"
    told = attnrules(*words)
    assert (told.code, "captured 96 sequences" in told.err) == (0, True)
    assert_ingested_like(lake, small_ingested_once)


def test_a_driver_that_was_killed_after_the_chunks_goes_on(
    captured: IngestTasks,
    small_spec: IngestSpec,
    small_ingested_once: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = captured.lake

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    # Between the tasks of the chunks and those of the layers, while the layers are stored, and after it.
    for kind, name in ((LayerTasks, "take_over"), (derived, "replace_rows"), (LayerTasks, "remove")):
        with monkeypatch.context() as patch:
            patch.setattr(kind, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                ingest_shared(lake, small_spec, Spread(workers=2), silent)
    ingest_shared(lake, small_spec, Spread(workers=2), silent)
    assert_ingested_like(lake, small_ingested_once)


def test_a_layer_that_fails_is_named(captured: IngestTasks, small_spec: IngestSpec) -> None:
    layers = captured.go_on(silent)
    layers.perform(0)
    with pytest.raises(AttnRulesError, match="L1 is not refreshed yet"):
        layers.refuse_pending()
    (layers.folder / "catalogue.duckdb").write_bytes(b"no database")
    with pytest.raises(AttnRulesError, match=r"^L1: could not be refreshed: .*not a DuckDB database"):
        ingest_shared(captured.lake, small_spec, Spread(workers=1), silent)
    assert layers.pending() == [1]


def test_layers_of_a_lake_that_another_command_wrote_to_are_refused(
    captured: IngestTasks, small_spec: IngestSpec
) -> None:
    layers = captured.go_on(silent)
    layers.perform(0)
    layers.perform(1)
    with Warehouse.open(captured.lake, writable=True) as warehouse, warehouse.run("describe", {}):
        pass
    with pytest.raises(AttnRulesError, match=r"was written to after these tasks began \(run 2, describe\)"):
        ingest_shared(captured.lake, small_spec, Spread(workers=1), silent)


def test_a_layer_is_refreshed_by_itself(small_ingested_once: Path, tmp_path: Path) -> None:
    query = "FROM digests ORDER BY ALL"
    outdated = "SELECT DISTINCT layer FROM heads WHERE kept_attention_mass IS NULL"
    with Warehouse.open(
        Path(shutil.copy(small_ingested_once, tmp_path / "w.duckdb")), writable=True
    ) as warehouse:
        before = warehouse.rows(query)
        warehouse.outdate_derived()
        for layer, left in ((1, [(0,)]), (0, [])):
            with warehouse.transaction():
                warehouse.refresh_layer(layer)
            assert warehouse.rows(outdated) == left
        assert warehouse.rows(query) == before


def test_a_failure_names_the_chunk(captured: IngestTasks) -> None:
    shutil.rmtree(captured.done(0))
    (captured.folder / "read/tokens").write_bytes(b"")
    with captured.worker(CPU) as do, pytest.raises(AttnRulesError, match=r"seqs-0-48: .*read/tokens"):
        do(0)
    assert captured.pending() == [0]
    assert not list(captured.folder.glob(".seqs*"))


def test_a_file_that_was_captured_and_is_gone_is_named(captured: IngestTasks) -> None:
    next(captured.done(1).rglob("attention_sources/**/*.parquet")).unlink()
    with pytest.raises(AttnRulesError, match=r"seqs-48-48/facts/attention_sources/.*: is missing"):
        captured.finish(silent)
    with Warehouse.open(captured.lake) as warehouse:
        assert warehouse.rows("SELECT count(*) FROM chunks") == [(0,)]


def test_other_commands_wait_for_the_tasks_of_a_lake(
    captured: IngestTasks, small_spec: IngestSpec, attnrules: Callable[..., Any]
) -> None:
    lake = captured.lake
    with pytest.raises(AttnRulesError, match="holds unfinished tasks of `ingest` with other options"):
        begin(lake, replace(small_spec, n_sequences=48))
    with pytest.raises(AttnRulesError, match="holds unfinished tasks of `ingest`"):
        MiningTasks.begin(lake, "mine absence", AbsenceSpec())
    told = attnrules("compact", lake)
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "holds unfinished tasks" in told.err


def test_a_lake_that_another_command_wrote_to_is_refused(captured: IngestTasks) -> None:
    with Warehouse.open(captured.lake, writable=True) as warehouse, warehouse.run("ingest", {}):
        pass
    with pytest.raises(AttnRulesError, match=r"was written to after these tasks began \(run 2, ingest\)"):
        captured.finish(silent)


def test_tasks_that_were_finished_meanwhile_are_not_made_again(captured: IngestTasks) -> None:
    (captured.lake / ".tasks.0123").mkdir()
    captured.remove()
    with pytest.raises(AttnRulesError, match="was finished by another process"), captured.unfinished("x"):
        pass
    assert [path.name for path in captured.lake.iterdir()] == ["catalogue.duckdb"]


def test_a_beginning_that_fails_leaves_an_empty_folder(
    small_spec: IngestSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AttnRulesError("no room")

    monkeypatch.setattr(shared, "_write_tokens", fail)
    with pytest.raises(AttnRulesError, match="no room"):
        begin(tmp_path / "lake", small_spec)
    assert list((tmp_path / "lake").iterdir()) == []


def test_files_are_not_shared(
    small_ingested_once: Path, small_spec: IngestSpec, tmp_path: Path, attnrules: Callable[..., Any]
) -> None:
    told = attnrules("ingest", tmp_path / "w.duckdb", *words_of(small_spec), "--workers", 2)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "end its name with /" in told.err
    assert (
        attnrules("ingest", tmp_path / "w.duckdb", *words_of(small_spec), "--workers", 2, "--dry-run") == told
    )
    both = attnrules("ingest", f"{tmp_path}/lake/", *words_of(small_spec), "--ray", "auto", "--slurm", "x.sh")
    assert (both.code, both.err) == (2, "attnrules: --slurm and --ray: give one of them\n")
    assert not (tmp_path / "lake").exists()
    with pytest.raises(UsageError, match="is no lake"):
        ingest_shared(small_ingested_once, small_spec, Spread(workers=1), silent)


def test_each_worker_gets_a_device() -> None:
    assert devices_of_workers("cuda:0,cuda:2", 3) == ["cuda:0", "cuda:2", "cuda:0"]
    assert devices_of_workers("cpu", 2) == ["cpu", "cpu"]
