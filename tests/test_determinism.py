"""The same command twice gives the same bits: at any number of threads, in whatever order rows are stored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from attnrules.ingest import IngestSpec, ingest
from attnrules.queries.absence import AbsenceSpec, mine_absence
from attnrules.queries.counting import CountingSpec, mine_counting
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse
from attnrules.warehouse.convert import convert
from benchmarks.compare_warehouses import compare
from tests import tiny

FACTS = ("tokens", "token_scales", "input_activations", "output_activations", "attention_sources")

# What is mined where a few rows of every kind do.
LITTLE: dict[str, Any] = {"m": 4, "n_features": 1, "heads": (0,)}


def mine_everything(
    path: Path,
    *,
    threads: int,
    aggregation: str = "max",
    m: int = 10,
    n_features: int = 3,
    heads: tuple[int, ...] = (0, 1),
) -> Path:
    """Compute all derived columns and mine every kind of rule."""
    with threadpool_limits(threads, user_api="blas"), Warehouse.open(path, writable=True) as warehouse:
        warehouse.execute(f"SET threads = {threads}")
        warehouse.refresh_derived()
        spec = SkipgramSpec(
            method="all",
            n_features=n_features,
            examples_per_split=m,
            aggregation=aggregation,
            layers=(0,),
            heads=heads,
            max_rules=64,
        )
        mine_skipgrams(warehouse, spec)
        mine_absence(warehouse, AbsenceSpec(pairs=2, layers=(0,)))
        mine_counting(warehouse, CountingSpec(pairs=2, min_support=2, layers=(0,)))
    return path


def shuffle(path: Path) -> None:
    """Store the rows of every table of facts in another order."""
    with Warehouse.open(path, writable=True) as warehouse, warehouse.session():
        for table in FACTS:
            order = f"CREATE OR REPLACE TEMP TABLE shuffled AS FROM {table} ORDER BY hash(rowid)"
            for statement in (order, f"DELETE FROM {table}", f"INSERT INTO {table} FROM shuffled"):
                warehouse.execute(statement)


@pytest.fixture(scope="module")
def on_one_thread(ingested_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copy(ingested_once, tmp_path_factory.mktemp("one") / "planted.duckdb"))
    return mine_everything(path, threads=1)


def test_mining_a_lake_gives_the_bits_of_the_file(
    on_one_thread: Path, ingested: Path, tmp_path: Path
) -> None:
    convert(ingested, tmp_path / "lake")
    mine_everything(tmp_path / "lake", threads=2)
    convert(tmp_path / "lake", tmp_path / "back.duckdb")
    assert compare(on_one_thread, tmp_path / "back.duckdb") == []


@pytest.fixture(scope="module")
def lake_on_one_thread(small_spec: IngestSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of two chunks, so that each table has several files, mined; and beside it as it was before."""
    lake = tmp_path_factory.mktemp("chunks") / "lake"
    ingest(lake, small_spec, lake=True)
    shutil.copytree(lake, lake.with_name("before"))
    return mine_everything(lake, threads=1, **LITTLE)


@pytest.mark.parametrize("threads", [2, 4, 8])
def test_mining_a_lake_of_several_files_gives_the_same_bits_at_any_number_of_threads(
    lake_on_one_thread: Path, tmp_path: Path, threads: int
) -> None:
    lake = Path(shutil.copytree(lake_on_one_thread.with_name("before"), tmp_path / "lake"))
    mine_everything(lake, threads=threads, **LITTLE)
    assert len([*(lake / "facts/tokens").iterdir()]) == 2
    # What was mined is in the catalogues, but for the values behind predictions.
    catalogues = [folder / "catalogue.duckdb" for folder in (lake_on_one_thread, lake)]
    assert compare(*catalogues) == []
    with Warehouse.open(lake) as warehouse:
        for table in ("rules", "distractors", "counting_counts"):
            assert warehouse.value(f"SELECT count(*) FROM {table}") > 0
    assert predictions(lake) == predictions(lake_on_one_thread)


def predictions(lake: Path) -> tuple[int, int]:
    """How many values behind predictions there are, and one number that tells them from others."""
    with Warehouse.open(lake) as warehouse:
        ((n_rows, bits),) = warehouse.rows("SELECT count(*), bit_xor(hash(s)) FROM rule_scores AS s")
    assert n_rows
    return n_rows, bits


@pytest.mark.parametrize("threads", [2, 4])
def test_mining_gives_the_same_bits_at_any_number_of_threads(
    on_one_thread: Path, ingested: Path, threads: int
) -> None:
    assert compare(on_one_thread, mine_everything(ingested, threads=threads)) == []


def test_mining_gives_the_same_bits_in_whatever_order_rows_are_stored(
    on_one_thread: Path, ingested: Path
) -> None:
    shuffle(ingested)
    assert compare(on_one_thread, mine_everything(ingested, threads=2)) == []


def test_ways_judged_one_at_a_time_have_the_metrics_of_ways_judged_together(
    on_one_thread: Path, ingested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnrules.queries.evaluation.judging._PREDICTIONS_AT_ONCE", 1)
    assert compare(on_one_thread, mine_everything(ingested, threads=1)) == []


@pytest.mark.parametrize("aggregation", ["sum_of_maxima"])
def test_ties_are_decided_the_same_way_in_whatever_order_rows_are_stored(
    tmp_path: Path, aggregation: str
) -> None:
    made = tiny.Tiny(seed=7, n_seqs=20, seq_len=5, steep=False, sparse=False)
    paths = [tmp_path / "one.duckdb", tmp_path / "two.duckdb"]
    for path in paths:
        tiny.build(path, made).close()
    shuffle(paths[1])
    first, second = (mine_everything(path, threads=1, aggregation=aggregation, m=1) for path in paths)
    assert compare(first, second) == []


def test_a_comparison_finds_one_number_that_differs_in_its_last_bit(
    ingested_once: Path, ingested: Path
) -> None:
    with Warehouse.open(ingested, writable=True) as warehouse:
        warehouse.execute("UPDATE heads SET attn_scale = attn_scale + 1e-15 WHERE layer = 1 AND head = 0")
    [found] = compare(ingested_once, ingested)
    assert (found.table, found.only_first, found.only_second, [*found.largest]) == (
        "heads",
        1,
        1,
        ["attn_scale"],
    )


def test_a_comparison_finds_a_row_too_many(ingested_once: Path, ingested: Path) -> None:
    with Warehouse.open(ingested, writable=True) as warehouse:
        warehouse.execute("INSERT INTO vocabulary (token_id, token) VALUES (100000, 'new')")
    assert [(d.table, d.only_first, d.only_second) for d in compare(ingested_once, ingested)] == [
        ("vocabulary", 0, 1)
    ]


def test_a_comparison_of_a_table_that_there_is_not_is_refused(ingested_once: Path) -> None:
    with pytest.raises(KeyError, match="no table rule;"):
        compare(ingested_once, ingested_once, ["rule"])
