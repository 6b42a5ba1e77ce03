"""One opened file under threads, forks, interrupts, and a file system that others use too."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnrules as package
from attnrules import interrupts
from attnrules.errors import AttnRulesError, WarehouseUnavailableError
from attnrules.warehouse import Warehouse, check

ROOT = Path(__file__).parent.parent
# Busy for much longer than any test waits, and checked for interrupts all along.
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


@pytest.fixture
def opened(mined_once: Path) -> Iterator[Warehouse]:
    with package.open(mined_once) as warehouse:
        yield warehouse


def in_threads(work: Any, n: int = 200) -> list[Any]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, range(n)))


@pytest.mark.parametrize("way", ["value", "rows", "columns", "sql", "lazy"])
def test_every_thread_gets_its_own_answer(opened: Warehouse, way: str) -> None:
    def ask(i: int) -> Any:
        parameters = {"i": i}
        if way == "value":
            return opened.value("SELECT $i", parameters)
        if way == "rows":
            return opened.rows("SELECT $i", parameters)[0][0]
        if way == "columns":
            return opened.columns("SELECT $i AS x", parameters)["x"][0]
        relation = opened.sql("SELECT $i AS x", parameters)
        frame = relation.pl(lazy=True).collect() if way == "lazy" else relation.pl()
        return frame["x"][0]

    assert in_threads(ask) == list(range(200))


def test_one_relation_serves_several_threads(opened: Warehouse) -> None:
    relation = opened.sql("FROM range(1000) AS t(x)")
    assert in_threads(lambda i: relation.filter(f"x < {i}").count("*").fetchall()[0][0], 64) == list(
        range(64)
    )


def test_questions_and_cards_from_several_threads(opened: Warehouse) -> None:
    [row] = opened.rows("SELECT layer, head, feature FROM output_features ORDER BY ALL LIMIT 1")
    name = "L{}H{}.{}".format(*row)
    question, card = opened.ask("best_features").pl(), opened.show(name)
    answers = in_threads(
        lambda i: opened.ask("best_features").pl().equals(question) if i % 2 else opened.show(name) == card,
        16,
    )
    assert answers == [True] * 16


def test_lazy_frames_can_be_joined(opened: Warehouse) -> None:
    rules, metrics = opened.table("rules").lazy(), opened.table("rule_metrics").lazy()
    keys = ["layer", "head", "feature", "method"]
    counted = metrics.join(rules, on=keys, how="semi").group_by(keys).len().sort(keys).collect()
    expected = opened.sql(
        "SELECT layer, head, feature, method, count(*) AS len FROM rule_metrics"
        " WHERE (layer, head, feature, method) IN (SELECT (layer, head, feature, method) FROM rules)"
        " GROUP BY ALL ORDER BY ALL"
    ).pl()
    assert counted.height > 0
    assert counted.cast({"len": pl.Int64}).equals(expected)


def test_a_lazy_frame_joined_with_itself(opened: Warehouse) -> None:
    frame = opened.table("tokens").lazy()
    joined = frame.join(frame, on=["seq_id", "pos"]).select(pl.len()).collect().item()
    assert joined == opened.value("SELECT count(*) FROM tokens")


@given(floor=st.integers(-1, 40), columns=st.sets(st.sampled_from(["seq_id", "pos", "token_id"]), min_size=1))
@settings(max_examples=15, deadline=None)
def test_what_is_pushed_down_changes_nothing(mined_once: Path, floor: int, columns: set[str]) -> None:
    with package.open(mined_once) as warehouse:
        chosen = sorted(columns)
        lazy = warehouse.table("tokens").lazy().filter(pl.col("pos") > floor).select(chosen).collect()
        eager = warehouse.table("tokens").pl().filter(pl.col("pos") > floor).select(chosen)
    assert lazy.sort(chosen).equals(eager.sort(chosen))


def test_a_temporary_table_lasts_as_long_as_its_session(opened: Warehouse) -> None:
    with opened.session():
        opened.execute("CREATE TEMP TABLE noted AS SELECT 1 AS x")
        assert opened.value("FROM noted") == 1
        with ThreadPoolExecutor(1) as pool, pytest.raises(AttnRulesError, match="noted"):
            pool.submit(opened.value, "FROM noted").result()
    with pytest.raises(AttnRulesError, match="noted"):
        opened.value("FROM noted")


def test_what_changes_something_is_done_once(mined: Path) -> None:
    """A relation whose text may be run again must not be one that writes."""
    with package.open(mined, writable=True) as warehouse:
        warehouse.execute("CREATE SCHEMA mine")
        warehouse.execute("CREATE TABLE mine.noted (x INTEGER)")
        relation = warehouse.sql("INSERT INTO mine.noted VALUES (1) RETURNING x")
        assert relation.pl(lazy=True).collect()["x"].to_list() == [1]
        assert warehouse.value("SELECT count(*) FROM mine.noted") == 1


def test_two_writers_in_threads_both_commit(mined: Path) -> None:
    with package.open(mined, writable=True) as warehouse:
        warehouse.execute("CREATE SCHEMA mine")
        warehouse.execute("CREATE TABLE mine.noted (x INTEGER)")

        def write(i: int) -> None:
            with warehouse.transaction():
                warehouse.execute("INSERT INTO mine.noted VALUES ($i)", {"i": i})

        in_threads(write, 40)
        assert warehouse.rows("SELECT x FROM mine.noted ORDER BY x") == [(i,) for i in range(40)]


@pytest.mark.parametrize(
    "use",
    [
        lambda w: w.value("SELECT 1"),
        lambda w: w.sql("SELECT 1"),
        lambda w: w.table("tokens").lazy(),
        lambda w: w.ask("best_features"),
        lambda w: w.execute("SELECT 1"),
        lambda w: w.session().__enter__(),
    ],
)
def test_after_close_one_line_says_so(mined_once: Path, use: Any) -> None:
    warehouse = package.open(mined_once)
    warehouse.close()
    with pytest.raises(AttnRulesError, match=r"planted\.duckdb: this handle was closed; open the warehouse"):
        use(warehouse)


def test_a_frame_that_outlives_its_handle_says_so(mined_once: Path) -> None:
    with package.open(mined_once) as warehouse:
        frame = warehouse.table("tokens").lazy()
    with pytest.raises(Exception, match="this handle was closed"):
        frame.collect()


def test_reading_and_writing_in_one_process_is_refused(mined: Path) -> None:
    with package.open(mined), pytest.raises(WarehouseUnavailableError, match="open in another way"):
        package.open(mined, writable=True)


def test_a_handle_from_before_a_fork_is_refused(mined_once: Path) -> None:
    program = """
import os, sys, attnrules
warehouse = attnrules.open(sys.argv[1])
child = os.fork()
if child == 0:
    try:
        warehouse.value("SELECT 1")
    except attnrules.AttnRulesError as error:
        print(error, flush=True)
    warehouse.close()
    with attnrules.open(sys.argv[1]) as again:
        print(again.value("SELECT 1"), flush=True)
else:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, warehouse.value("SELECT 2"))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(mined_once)], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.stdout.splitlines() == [
        f"{mined_once}: was opened before this process was forked; open it again in this process",
        "1",
        "0 2",
    ], ran.stderr


def test_an_interrupt_ends_a_query_of_another_thread(opened: Warehouse) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(opened.value, ENDLESS)
        while not running.done():
            opened.interrupt()
            time.sleep(0.01)
        with pytest.raises(AttnRulesError, match=r"query failed: .*[Ii]nterrupt"):
            running.result()
    assert opened.value("SELECT 1") == 1


@pytest.mark.parametrize(
    "fetch",
    [
        lambda w: w.value(ENDLESS),
        lambda w: w.execute(ENDLESS),
        lambda w: w.sql(ENDLESS).pl(),
        lambda w: w.sql(ENDLESS).filter("true").fetchall(),
    ],
)
def test_ctrl_c_ends_a_query_and_leaves_the_handle_of_use(opened: Warehouse, fetch: Any) -> None:
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        fetch(opened)
    timer.join()
    assert opened.value("SELECT 1") == 1


def test_ctrl_c_in_a_transaction_undoes_it(mined: Path) -> None:
    with package.open(mined, writable=True) as warehouse:

        def change() -> None:
            with warehouse.transaction():
                warehouse.execute("DELETE FROM rules")
                warehouse.value(ENDLESS)

        before = warehouse.value("SELECT count(*) FROM rules")
        timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            change()
        timer.join()
        assert before > 0
        assert warehouse.value("SELECT count(*) FROM rules") == before


@pytest.mark.parametrize("command", ["query", "mine", "check"])
def test_ctrl_c_ends_a_command_with_130(mined: Path, command: str) -> None:
    words = {
        "query": ["query", mined, ENDLESS],
        "mine": ["mine", "skipgrams", mined, "--method", "all"],
        "check": ["check", mined],
    }[command]
    program = (
        "import sys; from attnrules.cli import main; print('begun', file=sys.stderr, flush=True); main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "begun\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("attnrules: interrupted")
    with package.open(mined) as warehouse:
        assert [found for found in check(warehouse) if found.n_problems] == []


# Sends Ctrl-C while MODULE is imported, and swallows what that raises, as compiled modules do.
SWALLOWING = """
import importlib.abc, os, signal, sys
class Swallow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == MODULE:
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000): pass
            except KeyboardInterrupt:
                if HOW == "an error":
                    raise RuntimeError("of another kind")
sys.meta_path.insert(0, Swallow())
from attnrules.cli import main
main()
"""


@pytest.mark.parametrize("how", ["silence", "an error"])
@pytest.mark.parametrize("module", ["duckdb", "threadpoolctl"], ids=["before the file", "after it"])
def test_ctrl_c_that_an_import_swallows_ends_the_command(mined: Path, module: str, how: str) -> None:
    program = f"MODULE = {module!r}; HOW = {how!r}\n{SWALLOWING}"
    words = ["mine", "skipgrams", str(mined), "--method", "unigram"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1].startswith("attnrules: interrupted")


def test_what_cleans_up_after_ctrl_c_goes_on(opened: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts.State, "unanswered", True)
    with pytest.raises(KeyboardInterrupt):
        opened.value("SELECT 1")
    monkeypatch.setattr(interrupts.State, "unanswered", True)
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert opened.value("SELECT 1") == 1
    assert not interrupts.was_interrupted()


@pytest.mark.parametrize("what", ["removed", "renamed", "replaced"])
def test_a_file_moved_while_it_is_written_is_no_success(mined: Path, what: str) -> None:
    def write() -> None:
        with package.open(mined, writable=True):
            if what == "replaced":
                Path(shutil.copy(mined, mined.with_suffix(".copy"))).replace(mined)
            elif what == "renamed":
                mined.rename(mined.with_suffix(".moved"))
            else:
                mined.unlink()

    with pytest.raises(AttnRulesError, match="was removed, renamed or replaced while it was written"):
        write()


def test_a_commit_to_a_moved_file_is_refused(mined: Path) -> None:
    moved = mined.with_suffix(".moved")

    def write() -> None:
        with package.open(mined, writable=True) as warehouse, warehouse.transaction():
            warehouse.execute("DELETE FROM rules")
            mined.rename(moved)

    with pytest.raises(AttnRulesError, match="was removed, renamed"):
        write()
    with package.open(moved) as warehouse:
        assert warehouse.value("SELECT count(*) FROM rules") > 0


def test_a_write_ahead_log_of_a_removed_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.with_name("w.duckdb.wal").write_bytes(b"left")
    with pytest.raises(WarehouseUnavailableError, match=r"w\.duckdb\.wal: is left of a warehouse"):
        Warehouse.create(path, d_head=2)
    assert [f.name for f in tmp_path.iterdir()] == ["w.duckdb.wal"]


def test_a_warehouse_made_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "w.duckdb.creating").write_text("mine")
    Warehouse.create(tmp_path / "w.duckdb", d_head=2).close()
    assert {f.name for f in tmp_path.iterdir()} == {"w.duckdb", "w.duckdb.creating"}
    assert (tmp_path / "w.duckdb.creating").read_text() == "mine"


def test_of_two_that_make_one_file_one_wins(tmp_path: Path) -> None:
    path, made, refused = tmp_path / "w.duckdb", [], []
    together = threading.Barrier(4)

    def make(_: int) -> None:
        together.wait()
        try:
            made.append(Warehouse.create(path, d_head=2))
        except WarehouseUnavailableError as error:
            refused.append(str(error))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    assert (len(made), len(refused)) == (1, 3)
    assert all("another process has made it meanwhile" in r or "already exists" in r for r in refused)
    made[0].close()
    assert [f.name for f in tmp_path.iterdir()] == ["w.duckdb"]


def special(tmp_path: Path, kind: str) -> str | Path:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "text":
        path.write_text("not a database\n" * 1000)
    elif kind == "empty":
        path.touch()
    elif kind == "database":
        duckdb.connect(str(path)).close()
    elif kind == "blocks.0":
        path.mkdir()
        return path / "missing.duckdb"
    elif kind == "long":
        return tmp_path / ("x" * 300)
    else:
        return kind
    return path


KINDS = {
    "folder": "is a folder",
    "fifo": "is a FIFO",
    "socket": "is a socket",
    "text": "not a DuckDB database",
    "empty": "",
    "database": "not an attnrules warehouse",
    "blocks.0": "no such warehouse",
    "long": "File name too long",
    ":memory:": "a warehouse is a file; name one",
    "/dev/zero": "is a device",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_warehouse_is_told_in_one_line(tmp_path: Path, kind: str, attnrules: Any) -> None:
    path = special(tmp_path, kind)
    ran = attnrules("info", path)
    assert (ran.code, ran.out) == (3, "")
    [line] = ran.err.splitlines()
    assert KINDS[kind] in line
    assert "in use" not in line
    assert "unexpected" not in line


def test_a_file_in_use_names_the_process_that_holds_it(mined: Path, attnrules: Any) -> None:
    program = (
        "import sys, attnrules\nw = attnrules.open(sys.argv[1], writable=True)\nprint(flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(mined)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        ran = attnrules("info", mined)
        holder.communicate(b"\n")
    assert ran.code == 3
    assert f"in use by process {holder.pid}" in ran.err


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(WarehouseUnavailableError, match="cannot be opened: embedded null byte"):
        package.open("a\0b")


@pytest.mark.parametrize("writable", [False, True])
def test_half_of_the_memory_of_a_job_is_left_to_the_rest_of_it(mined_once: Path, writable: bool) -> None:
    """A job of 4 GB on a larger machine, as SLURM tells it of itself; 4,096 MB are 3.8 GiB."""
    code = (
        "import sys; from pathlib import Path; from attnrules.warehouse import Warehouse\n"
        "with Warehouse.open(Path(sys.argv[1]), writable=sys.argv[2] == 'True') as w:\n"
        "    print(w.value(\"SELECT current_setting('memory_limit')\"))"
    )
    words = [sys.executable, "-c", code, str(mined_once), str(writable)]
    job = {**os.environ, "SLURM_MEM_PER_NODE": "4096"}
    assert subprocess.check_output(words, env=job, text=True) == "1.9 GiB\n"


def test_processors_are_those_that_the_process_may_use() -> None:
    """On a machine of more, a process bound to one, or of a job of one."""
    code = "import os, sys; from attnrules.warehouse.connection import processors\n"
    bind = "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    job = {**os.environ, "SLURM_CPUS_ON_NODE": "1"}
    for said, env in ((code + bind, None), (code, job)):
        words = [sys.executable, "-c", said + "print(processors())"]
        assert subprocess.check_output(words, env=env, text=True) == "1\n"
