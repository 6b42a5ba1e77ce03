"""Ingest killed, interrupted, and fed a corrupt document: what is committed stays, and it goes on from there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from attnrules.errors import WarehouseUnavailableError
from attnrules.warehouse import Warehouse, check, files
from attnrules.warehouse.convert import convert
from tests.planted import PlantedModel
from tests.tiny import keep_log

ROOT = Path(__file__).parent.parent
TABLES = (
    "chunks", "corpus", "heads", "input_activations", "input_features", "model", "output_activations",
    "output_features", "projections", "saes", "token_scales", "tokens", "vocabulary", "attention_sources",
    "feature_heads",
)  # fmt: skip

# Imports what is slow once, then runs one command line for each line of its input, each in a process.
SERVER = """
import json, os, sys
import datasets, sae_lens, transformer_lens.model_bridge
from attnrules.cli import run
print("ready", flush=True)
for line in sys.stdin:
    words, errors = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 99
        try:
            code = run(words)
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Server:
    """Starts `attnrules` command lines as processes of their own, without their start-up time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        assert self._line() == "ready"

    def start(self, words: list[str], errors: Path) -> int:
        """Start a command line and return its process id."""
        assert self._process.stdin is not None
        errors.write_text("")
        self._process.stdin.write(json.dumps([words, str(errors)]) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def wait(self) -> int:
        """Wait for the command line started last and return its exit code, negative for a signal."""
        return int(self._line())

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@dataclass(frozen=True)
class Command:
    """An ingest of the planted model in many small chunks, by command line."""

    planted: PlantedModel

    def words(self, path: Path | str, *more: object) -> list[str]:
        return [
            "ingest", str(path),
            "--model", str(self.planted.model_dir),
            "--input-sae", str(self.planted.input_sae_dir),
            "--output-sae", str(self.planted.output_sae_dir),
            "--corpus", str(self.planted.corpus_path),
            "--seq-len", str(self.planted.seq_len),
            "--sequences", "400", "--chunk-size", "8", "--batch-size", "4", "--device", "cpu",
            *map(str, more),
        ]  # fmt: skip


@pytest.fixture(scope="module")
def command(planted: PlantedModel) -> Command:
    return Command(planted)


@pytest.fixture(scope="module")
def uninterrupted(server: Server, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    server.start(command.words(folder / "w.duckdb"), folder / "errors")
    assert server.wait() == 0
    return folder / "w.duckdb"


def assert_same_contents(one: Path, other: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{one}' AS one (READ_ONLY)")
        connection.execute(f"ATTACH '{other}' AS other (READ_ONLY)")
        for table in TABLES:
            columns = "* EXCLUDE (run_id)" if table == "chunks" else "*"
            for left, right in (("one", "other"), ("other", "one")):
                difference = connection.execute(
                    f"SELECT count(*) FROM (SELECT {columns} FROM {left}.{table}"
                    f" EXCEPT ALL SELECT {columns} FROM {right}.{table})"
                ).fetchall()
                assert difference == [(0,)], (table, left)


def assert_sound(path: Path) -> None:
    with Warehouse.open(path) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []


def wait_for(text: str, errors: Path, pid: int) -> bool:
    """Wait until the process has said `text`; False when it ended without."""
    while text not in errors.read_text():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.002)
    return True


def test_killed_at_random_moments_it_ends_where_an_uninterrupted_one_does(
    server: Server, command: Command, uninterrupted: Path, tmp_path: Path
) -> None:
    path, errors = tmp_path / "w.duckdb", tmp_path / "errors"
    moments = random.Random(3)
    code, n_kills = -signal.SIGKILL, 0
    while code == -signal.SIGKILL:
        pid = server.start(command.words(path), errors)
        # While it loads, reads, captures and writes, and while it counts features.
        stage = moments.choice(["loading the SAEs", "capturing", "capturing", "capturing", "counting"])
        if n_kills < 8 and wait_for(stage, errors, pid):
            time.sleep(moments.random() * 0.25)
            os.kill(pid, signal.SIGKILL)
            n_kills += 1
        code = server.wait()
        if path.exists():
            assert_sound(path)
    assert code == 0, errors.read_text()
    assert n_kills > 2
    assert_same_contents(path, uninterrupted)


def test_a_lake_killed_at_random_moments_ends_as_the_file(
    server: Server, command: Command, uninterrupted: Path, tmp_path: Path
) -> None:
    lake, errors = tmp_path / "lake", tmp_path / "errors"
    moments = random.Random(5)
    for stage in ("capturing", "counting"):
        pid = server.start(command.words(f"{lake}/"), errors)
        assert wait_for(stage, errors, pid)
        time.sleep(moments.random() * 0.25)
        os.kill(pid, signal.SIGKILL)
        server.wait()
        if (lake / "catalogue.duckdb").exists():
            assert_sound(lake)
    server.start(command.words(lake), errors)
    assert server.wait() == 0, errors.read_text()
    with Warehouse.open(lake, writable=True) as warehouse:
        warehouse.compact()
    assert not [path for path in lake.rglob("*") if path.name.startswith(".")]
    convert(lake, tmp_path / "back.duckdb")
    assert_same_contents(tmp_path / "back.duckdb", uninterrupted)


def test_an_interrupt_says_how_to_go_on(
    server: Server, command: Command, uninterrupted: Path, tmp_path: Path
) -> None:
    path, errors = tmp_path / "w.duckdb", tmp_path / "errors"
    pid = server.start(command.words(path), errors)
    assert wait_for("capturing", errors, pid)
    os.kill(pid, signal.SIGINT)
    assert server.wait() == 130
    said = [line for line in errors.read_text().splitlines() if line.startswith("attnrules: ")]
    assert said == ["attnrules: interrupted; what was committed is kept, run the same command to go on"]
    assert_sound(path)
    with Warehouse.open(path) as warehouse:
        assert warehouse.rows("SELECT status FROM runs") == [("interrupted",)]
    server.start(command.words(path), errors)
    assert server.wait() == 0
    assert_same_contents(path, uninterrupted)


def test_a_corrupt_document_ends_it_after_what_came_before(
    attnrules: Any, command: Command, planted: PlantedModel, uninterrupted: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = planted.corpus_path.read_text().splitlines(keepends=True)
    (corpus / "1.jsonl").write_text("".join(lines[:300]))
    (corpus / "2.jsonl").write_text('{"text": "Montreal\n')
    words = command.words(tmp_path / "w.duckdb")
    words[words.index("--corpus") + 1] = str(corpus)
    outcome = attnrules(*words)
    said = [line for line in outcome.err.splitlines() if line.startswith("attnrules: ")]
    assert outcome.code == 1
    assert len(said) == 1
    assert "corpus: 2.jsonl: cannot be read: record 1 is not JSON" in said[0]
    assert_sound(tmp_path / "w.duckdb")
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        assert warehouse.value("SELECT sum(n_seqs) FROM chunks") > 0
    (corpus / "2.jsonl").write_text("".join(lines[300:]))
    assert attnrules(*words).code == 0
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("UPDATE corpus SET source = ?", [planted.corpus_path.name])
    assert_same_contents(tmp_path / "w.duckdb", uninterrupted)


def test_a_second_writer_is_told_who_holds_the_file(
    attnrules: Any, command: Command, uninterrupted: Path
) -> None:
    script = f"import duckdb, sys; c = duckdb.connect({str(uninterrupted)!r}); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        outcome = attnrules(*command.words(uninterrupted))
    finally:
        holder.kill()
        holder.wait()
    assert outcome.code == 3
    assert f"process {holder.pid}" in outcome.err


def test_a_file_is_not_made_without_what_its_log_holds(tmp_path: Path) -> None:
    words = r"w\.duckdb: what was written to it last could not be moved into the file"
    path = tmp_path / "w.duckdb"
    with pytest.raises(WarehouseUnavailableError, match=words), files.made_whole(path) as unfinished:
        keep_log(unfinished, "CREATE TABLE a (b INTEGER)")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_replaced_by_one_that_lacks_what_its_log_holds(tmp_path: Path) -> None:
    path, new = tmp_path / "w.duckdb", tmp_path / "new"
    path.write_bytes(b"as it was")
    keep_log(new, "CREATE TABLE a (b INTEGER)")
    for kept in (None, tmp_path / "kept"):
        with pytest.raises(WarehouseUnavailableError, match="could not be moved into the file"):
            files.put_in_place(new, path, kept)
    assert path.read_bytes() == b"as it was"
    assert not (tmp_path / "kept").exists()
