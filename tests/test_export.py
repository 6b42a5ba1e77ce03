"""`attnrules export`: every table as Parquet, all or nothing."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from attnrules import sql
from attnrules.warehouse import Warehouse

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def exported(mined_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from attnrules.warehouse import export

    folder = tmp_path_factory.mktemp("export") / "tables"
    with Warehouse.open(mined_once) as warehouse:
        export(warehouse, folder)
    return folder


def stored(path: Path, name: str) -> pl.DataFrame:
    """A table as polars reads it from DuckDB, its fixed-size vectors as lists."""
    with Warehouse.open(path) as warehouse:
        frame = warehouse.table(name).pl()
    return frame.with_columns(
        pl.col(column).arr.to_list() for column, kind in frame.schema.items() if isinstance(kind, pl.Array)
    )


@pytest.mark.parametrize("name", sql.table_names())
def test_a_table_reads_back_as_it_was(exported: Path, mined_once: Path, name: str) -> None:
    assert_frame_equal(pl.read_parquet(exported / f"{name}.parquet"), stored(mined_once, name))


def test_the_manifest_says_what_the_files_hold(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["schema_version"] == sql.SCHEMA_VERSION
    assert set(manifest["tables"]) == set(sql.table_names())
    assert {f.name for f in exported.iterdir()} == {
        "manifest.json",
        *(table["file"] for table in manifest["tables"].values()),
    }
    for table in manifest["tables"].values():
        path = exported / table["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == table["sha256"]
        frame = pl.read_parquet(path)
        assert (frame.height, frame.columns) == (table["rows"], list(table["columns"]))


def test_tables_and_views_can_be_chosen(attnrules: Any, mined_once: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    assert attnrules("export", mined_once, folder, "--tables", "rules,rule_metrics").code == 0
    assert {f.name for f in folder.iterdir()} == {"manifest.json", "rules.parquet", "rule_metrics.parquet"}
    metrics = pl.read_parquet(folder / "rule_metrics.parquet")
    assert_frame_equal(metrics, stored(mined_once, "rule_metrics"), check_row_order=False)


def test_an_empty_folder_is_filled(attnrules: Any, mined_once: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert attnrules("export", mined_once, tmp_path / "empty", "--tables", "model").code == 0
    assert (tmp_path / "empty" / "model.parquet").is_file()


def test_a_folder_that_holds_something_is_refused(attnrules: Any, mined_once: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    outcome = attnrules("export", mined_once, tmp_path / "full")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "is not empty" in outcome.err
    assert [f.name for f in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_an_unknown_table_is_named(attnrules: Any, mined_once: Path, tmp_path: Path) -> None:
    outcome = attnrules("export", mined_once, tmp_path / "out", "--tables", "rulse")
    assert outcome.code == 2
    assert "'rulse'" in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_failed_export_leaves_nothing(mined_once: Path, tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys; from attnrules.cli import run;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        f"sys.exit(run(['export', {str(mined_once)!r}, {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(tmp_path / "out") in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_others_have_made_is_left_alone(attnrules: Any, mined_once: Path, tmp_path: Path) -> None:
    (tmp_path / "out.exporting").mkdir()
    (tmp_path / "out.exporting" / "notes.txt").write_text("mine")
    assert attnrules("export", mined_once, tmp_path / "out", "--tables", "model").code == 0
    assert (tmp_path / "out.exporting" / "notes.txt").read_text() == "mine"
    assert {f.name for f in tmp_path.iterdir()} == {"out", "out.exporting"}


def test_of_two_exports_to_one_folder_one_wins(mined_once: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "attnrules", "export", str(mined_once), str(tmp_path / "out")]
    both = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], said
    assert len(said[both[0].returncode == 0].splitlines()) == 1, said
    assert [f.name for f in tmp_path.iterdir()] == ["out"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    for table in manifest["tables"].values():
        content = (tmp_path / "out" / table["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == table["sha256"]
