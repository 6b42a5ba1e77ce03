"""A lake: facts as Parquet files and a small catalogue, made of a file, used like one, and made a file again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

import attnrules as package
from attnrules.errors import AttnRulesError, UsageError, WarehouseUnavailableError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.capture.flow import Flow
from attnrules.ingest.intervene import Laboratory, LaboratorySpec
from attnrules.queries.heads import FeatureId
from attnrules.queries.interventions import InterveneSpec, intervene
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse, check, describe, info
from attnrules.warehouse.convert import convert
from attnrules.warehouse.digests import FACTS, IN_FILES
from attnrules.warehouse.part import Part
from benchmarks.compare_warehouses import compare

# Of results, what the rows of a file are sorted by.
ORDERS = {"rule_scores": ["feature", "example_set", "method", "scaling", "n_rules", "seq_id", "pos"]}
SCORES = "results/rule_scores/layer=0/head=0"
AGAIN = SkipgramSpec(
    features=(FeatureId(0, 0, 2), FeatureId(0, 0, 9)), examples_per_split=4, example_sets=("paper",), seed=1
)


@pytest.fixture(scope="module")
def lake_once(small_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of the small warehouse. Not to be written to."""
    folder = tmp_path_factory.mktemp("lake") / "lake"
    convert(small_once, folder)
    return folder


@pytest.fixture
def lake(lake_once: Path, tmp_path: Path) -> Path:
    """A private copy of it, which has never been opened where it is."""
    return Path(shutil.copytree(lake_once, tmp_path / "lake"))


def files_of(lake: Path) -> list[Path]:
    return sorted(path for folder in ("facts", "results") for path in (lake / folder).rglob("*.*"))


def redefine(lake: Path, statement: str) -> None:
    with duckdb.connect(str(lake / "catalogue.duckdb")) as connection:
        connection.execute(statement)


def test_a_file_becomes_a_lake_and_the_same_file_again(
    small: Path, tmp_path: Path, attnrules: Callable[..., Any]
) -> None:
    lake, back = tmp_path / "lake", tmp_path / "back.duckdb"
    assert attnrules("lake", small, f"{lake}/").code == 0
    assert attnrules("lake", lake, back).code == 0
    assert compare(small, back) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.duckdb", "lake", "planted.duckdb"]


def test_a_lake_passes_every_check(lake: Path) -> None:
    with Warehouse.open(lake) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []


def test_info_and_describe_say_of_a_lake_what_they_say_of_the_file(lake: Path, small: Path) -> None:
    with Warehouse.open(lake) as opened, Warehouse.open(small) as file:
        ours, theirs = info(opened).as_dict(), info(file).as_dict()
        assert ours.pop("file_bytes") == sum(
            path.stat().st_size for path in [*files_of(lake), lake / "catalogue.duckdb"]
        )
        assert theirs.pop("file_bytes") == small.stat().st_size
        assert ours.pop("runs")[:-1] == theirs.pop("runs")
        for rows in (ours["rows"], theirs["rows"]):
            del rows["runs"], rows["digests"]
        assert ours == theirs
        described, of_file = describe(opened), describe(file)
        del described["runs"], of_file["runs"]
        assert described == of_file


@pytest.mark.parametrize("table", sorted(IN_FILES))
def test_files_read_with_polars_hold_the_rows_of_the_table_in_order(
    lake: Path, small: Path, table: str
) -> None:
    with Warehouse.open(small) as warehouse:
        wanted = warehouse.table(table).pl()
    keys = [name for name in wanted.columns if not wanted[name].dtype.is_float()]
    if table in FACTS:
        keys = [name for name in keys if wanted[name].dtype.is_integer()]
    found = pl.concat(
        pl.scan_parquet(path, hive_partitioning=True).collect()
        for path in files_of(lake)
        if table in path.parts
    )
    assert found.select(wanted.columns).cast(dict(wanted.schema)).sort(keys).equals(wanted.sort(keys))
    for path in files_of(lake):
        if table in path.parts:
            rows = pl.read_parquet(path)
            order = [name for name in ORDERS.get(table, keys) if name in rows.columns]
            assert rows.equals(rows.sort(order, maintain_order=True))


def test_files_are_compressed_and_without_the_keys_of_their_folders(lake: Path) -> None:
    for path in files_of(lake):
        with parquet.ParquetFile(path) as file:
            assert file.metadata.row_group(0).column(0).compression == "ZSTD"
            assert not {"layer", "head"} & {*file.schema_arrow.names}


def test_export_and_questions_work_on_a_lake(
    lake: Path, small: Path, tmp_path: Path, attnrules: Callable[..., Any]
) -> None:
    for path, folder in ((lake, tmp_path / "a"), (small, tmp_path / "b")):
        assert attnrules("export", path, folder, "--tables", "tokens,rules").code == 0
    for name in ("tokens", "rules"):
        of_lake, of_file = (pl.read_parquet(tmp_path / at / f"{name}.parquet") for at in "ab")
        assert of_lake.sort(pl.all()).equals(of_file.sort(pl.all()))
    assert attnrules("query", lake, "heads").out == attnrules("query", small, "heads").out
    assert attnrules("show", lake, "L0H0.0").code == 0


def test_a_single_file_needs_nothing_of_a_lake(small: Path) -> None:
    script = f"""
import sys
import attnrules
with attnrules.open({str(small)!r}) as warehouse:
    assert warehouse.value("SELECT count(*) FROM tokens") > 0
sys.exit("attnrules.warehouse.lake" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_api_opens_a_lake(lake: Path) -> None:
    with package.open(lake) as warehouse:
        lazy = warehouse.table("tokens").lazy().filter(pl.col("seq_id") == 3).collect()
        assert lazy.height == len(warehouse.sql("FROM tokens WHERE seq_id = 3"))


@pytest.mark.parametrize("writable", [False, True])
def test_a_lake_that_was_moved_reads_the_files_where_it_is(
    lake: Path, tmp_path: Path, writable: bool
) -> None:
    moved = lake.rename(tmp_path / "an other's")
    with Warehouse.open(moved, writable=writable) as warehouse:
        assert warehouse.value("SELECT count(*) FROM tokens") > 0
        text = str(warehouse.rows("SELECT sql FROM duckdb_views() WHERE view_name = 'tokens'"))
    assert "an other" in text


def test_a_view_keeps_its_comments(lake: Path, small: Path) -> None:
    query = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'tokens' ORDER BY ALL"
    with Warehouse.open(lake) as opened, Warehouse.open(small) as file:
        assert opened.rows(query) == file.rows(query)
        of_view = "SELECT comment FROM duckdb_views() WHERE view_name = 'tokens'"
        assert opened.rows(of_view) == file.rows(of_view.replace("view", "table"))


def test_queries_reach_nothing_but_the_files_of_the_lake(
    lake: Path, tmp_path: Path, attnrules: Callable[..., Any]
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    for query in (
        f"SELECT * FROM read_text('{tmp_path}/secret.txt')",
        f"SELECT * FROM read_text('{lake}/facts/../../secret.txt')",
        f"COPY (SELECT 1) TO '{lake}/facts/made.csv'",
        f"ATTACH '{lake}/facts/made.duckdb'",
    ):
        assert attnrules("query", lake, query).code == 1
    assert not list(lake.rglob("made.*"))


@pytest.mark.parametrize(
    "view",
    [
        "SELECT 1 AS seq_id, 2 AS pos, 3 AS token_id",
        "SELECT seq_id, pos, token_id FROM read_parquet(['{other}'], hive_partitioning => false)",
        "SELECT seq_id, pos, token_id + 1 AS token_id FROM read_parquet(['{file}'], hive_partitioning => false)",
        "SELECT seq_id, pos, token_id FROM read_parquet(['{around}'], hive_partitioning => false)",
        "SELECT seq_id, pos, token_id FROM read_parquet('{all}', hive_partitioning => false)",
    ],
)
def test_a_view_that_is_no_list_of_files_of_the_lake_is_refused(
    lake: Path, tmp_path: Path, view: str
) -> None:
    (file,) = (path for path in files_of(lake) if "tokens" in path.parts)
    other = shutil.copy(file, tmp_path / "other.parquet")
    around = f"{lake}/../lake/facts/tokens/{file.name}"
    places = {"file": file, "other": other, "around": around, "all": f"{lake}/facts/tokens/*.parquet"}
    redefine(lake, f"CREATE OR REPLACE VIEW tokens AS {view.format(**places)}")
    with pytest.raises(WarehouseUnavailableError, match="the view tokens is not a list of files of a lake"):
        Warehouse.open(lake)


def test_files_of_two_lakes_are_not_one(lake: Path, tmp_path: Path) -> None:
    with Warehouse.open(lake):
        pass
    (file,) = (path for path in files_of(lake) if "tokens" in path.parts)
    there = tmp_path / "elsewhere/facts/tokens"
    there.mkdir(parents=True)
    other = shutil.copy(file, there)
    redefine(
        lake,
        "CREATE OR REPLACE VIEW tokens AS SELECT seq_id, pos, token_id"
        f" FROM read_parquet(['{other}'], hive_partitioning => false)",
    )
    with pytest.raises(WarehouseUnavailableError, match="list files of several folders"):
        Warehouse.open(lake)


def test_a_table_in_place_of_a_view_is_refused(lake: Path) -> None:
    redefine(lake, "DROP VIEW tokens; CREATE TABLE tokens (seq_id INTEGER, pos INTEGER, token_id INTEGER)")
    with pytest.raises(WarehouseUnavailableError, match="the view tokens is not a list"):
        Warehouse.open(lake)


def test_values_behind_predictions_are_no_rows_of_the_catalogue(lake: Path, small: Path) -> None:
    with duckdb.connect(str(lake / "catalogue.duckdb"), read_only=True) as connection:
        tables = connection.execute("SELECT table_name FROM duckdb_tables() WHERE NOT internal").fetchall()
    assert not {*IN_FILES} & {name for (name,) in tables}
    query = "FROM rule_predictions WHERE head = 1 AND n_rules < 3 ORDER BY ALL"
    with Warehouse.open(lake) as opened, Warehouse.open(small) as file:
        assert opened.rows(query) == file.rows(query) != []


def features_of(path: Path) -> set[int]:
    return {*pl.read_parquet(path, columns=["feature"])["feature"]}


def test_mining_features_again_leaves_those_of_others(lake: Path, small: Path, tmp_path: Path) -> None:
    (before,) = (lake / SCORES).iterdir()
    others = files_of(lake)
    others.remove(before)
    mined = {feature.feature for feature in AGAIN.features}
    for path in (lake, small):
        with Warehouse.open(path, writable=True) as warehouse:
            mine_skipgrams(warehouse, AGAIN)
            assert [result for result in check(warehouse) if result.n_problems] == []
    after = {*files_of(lake)} - {*others}
    assert sorted(map(features_of, after), key=len) == [mined, features_of_small(small) - mined]
    assert before not in after
    convert(lake, tmp_path / "back.duckdb")
    assert compare(small, tmp_path / "back.duckdb") == []


def features_of_small(small: Path) -> set[int]:
    with Warehouse.open(small) as warehouse:
        query = "SELECT DISTINCT feature FROM rule_scores WHERE (layer, head) = (0, 0)"
        return {feature for (feature,) in warehouse.rows(query)}


def test_mining_that_fails_leaves_the_files_of_before(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        assert len(files_of(lake)) == len(before) + 2
        raise AttnRulesError("no room")

    with Warehouse.open(lake, writable=True) as warehouse:
        before, rows = files_of(lake), warehouse.value("SELECT count(*) FROM rule_scores")
        monkeypatch.setattr(Warehouse, "stamp_mined", fail)
        with pytest.raises(AttnRulesError, match="no room"):
            mine_skipgrams(warehouse, AGAIN)
        assert files_of(lake) == before
        assert warehouse.value("SELECT count(*) FROM rule_scores") == rows


def test_the_values_behind_predictions_of_a_head_are_merged(lake: Path) -> None:
    with Warehouse.open(lake, writable=True) as warehouse:
        mine_skipgrams(warehouse, AGAIN)
        assert len([*(lake / SCORES).iterdir()]) == 2
        warehouse.compact()
        assert len([*(lake / SCORES).iterdir()]) == 1
        assert [result for result in check(warehouse) if result.n_problems] == []


def test_a_lake_with_these_values_in_its_catalogue_is_to_be_upgraded(
    lake: Path, attnrules: Callable[..., Any]
) -> None:
    redefine(lake, "CREATE TABLE t AS FROM rule_scores LIMIT 0; DROP VIEW rule_scores")
    redefine(lake, "ALTER TABLE t RENAME TO rule_scores")
    told = attnrules("info", lake)
    assert (told.code, told.err.count("\n")) == (3, 1)
    assert "rule_scores is no view of files" in told.err
    assert f"`attnrules upgrade {lake}`" in told.err


@pytest.mark.parametrize(("table", "column"), [("tokens", "token_id"), ("rule_scores", "prediction")])
def test_check_names_what_changed_in_a_file(lake: Path, table: str, column: str) -> None:
    file = next(path for path in files_of(lake) if table in path.parts)
    rows = parquet.ParquetFile(file).read()
    changed = rows.column(column).to_numpy().copy()
    changed[7] += 1
    place = rows.column_names.index(column)
    parquet.write_table(rows.set_column(place, column, pa.array(changed)), file)
    with Warehouse.open(lake) as warehouse:
        found = {result.name for result in check(warehouse) if result.n_problems}
    assert f"contents of {table}" in found


def test_a_missing_file_is_one_line(lake: Path, attnrules: Callable[..., Any]) -> None:
    with Warehouse.open(lake):
        pass
    next(path for path in files_of(lake) if "tokens" in path.parts).unlink()
    told = attnrules("query", lake, "FROM tokens")
    assert told.code == 1
    assert told.err.count("\n") == 1
    assert "tokens" in told.err


def test_rows_are_appended_as_files_with_their_transaction(lake: Path) -> None:
    rows = pa.table({name: np.array([7, 7, 8], np.int32) for name in ("seq_id", "pos", "token_id")})
    with Warehouse.open(lake, writable=True) as warehouse:
        before, n_rows = files_of(lake), warehouse.value("SELECT count(*) FROM tokens")
        with pytest.raises(AttnRulesError, match="nothing"), warehouse.transaction():
            assert warehouse.append("tokens", rows) + warehouse.append("nothing", rows)
        assert files_of(lake) == before
        assert warehouse.value("SELECT count(*) FROM tokens") == n_rows
        with warehouse.transaction():
            warehouse.append("tokens", rows)
        (added,) = {*files_of(lake)} - {*before}
        assert added.name.startswith("seqs-7-2-")
        assert warehouse.value("SELECT count(*) FROM tokens") == n_rows + 3


def test_the_files_of_a_head_go_with_its_output_features(lake: Path) -> None:
    with Warehouse.open(lake, writable=True) as warehouse:
        with warehouse.transaction():
            warehouse.forget_output_features(0, 1)
        of_heads = "SELECT DISTINCT layer, head FROM output_activations ORDER BY ALL"
        left = warehouse.rows(of_heads)
    assert (0, 1) not in left
    assert (0, 0) in left
    for folder in ("facts/output_activations", "results/rule_scores"):
        assert not list((lake / folder / "layer=0/head=1").iterdir())
        assert list((lake / folder / "layer=0/head=0").iterdir())


def test_rules_are_tested_on_a_lake_as_on_a_file(lake: Path, small: Path, tmp_path: Path) -> None:
    for path in (lake, small):
        with Warehouse.open(path, writable=True) as warehouse:
            laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
            intervene(warehouse, InterveneSpec(n_examples=3, copies=1, n_controls=2), laboratory)
            assert warehouse.value("SELECT count(*) FROM interventions") > 0
    convert(lake, tmp_path / "back.duckdb")
    assert compare(small, tmp_path / "back.duckdb") == []


@pytest.fixture(scope="module")
def ingested_lake_once(small_spec: IngestSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake filled by an ingest, in two chunks. Not to be written to."""
    folder = tmp_path_factory.mktemp("ingested") / "lake"
    ingest(folder, small_spec, lake=True)
    return folder


def test_an_ingest_into_a_lake_stores_what_one_into_a_file_does(
    ingested_lake_once: Path, small_ingested_once: Path, tmp_path: Path
) -> None:
    convert(ingested_lake_once, tmp_path / "back.duckdb")
    assert compare(small_ingested_once, tmp_path / "back.duckdb") == []


def test_compact_leaves_a_file_a_layer_and_head_with_the_same_rows(
    ingested_lake_once: Path, small_ingested_once: Path, tmp_path: Path, attnrules: Callable[..., Any]
) -> None:
    lake = Path(shutil.copytree(ingested_lake_once, tmp_path / "lake"))
    stray = lake / "facts/tokens/seqs-0-9-00ff00ff.parquet"
    stray.touch()
    n_places = len({path.parent for path in files_of(lake)})
    assert attnrules("compact", lake).code == 0
    assert not stray.exists()
    assert len(files_of(lake)) == n_places
    convert(lake, tmp_path / "back.duckdb")
    assert compare(small_ingested_once, tmp_path / "back.duckdb") == []


def test_compact_refuses_a_file(small: Path, attnrules: Callable[..., Any]) -> None:
    told = attnrules("compact", small)
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "is a file, not a lake" in told.err


@pytest.mark.parametrize(("of_lake", "to_lake"), [(True, False), (False, True), (True, True)])
def test_a_part_is_what_an_ingest_of_it_stores(
    ingested_lake_once: Path,
    small_ingested_once: Path,
    small_spec: IngestSpec,
    tmp_path: Path,
    attnrules: Callable[..., Any],
    of_lake: bool,
    to_lake: bool,
) -> None:
    ingest(tmp_path / "wanted.duckdb", replace(small_spec, layers=(1,), heads=(0, 2)))
    source = Path(shutil.copytree(ingested_lake_once, tmp_path / "source"))
    part = tmp_path / ("part" if to_lake else "part.duckdb")
    words = (source if of_lake else small_ingested_once, f"{part}/" if to_lake else part)
    told = attnrules("lake", *words, "--layers", 1, "--heads", "0,2")
    assert told.code == 0, told.err
    if to_lake:
        convert(part, tmp_path / "part.duckdb")
    assert compare(tmp_path / "wanted.duckdb", tmp_path / "part.duckdb") == []


def test_a_part_of_what_was_mined_passes_every_check(lake: Path, tmp_path: Path) -> None:
    convert(lake, tmp_path / "part.duckdb", part=Part(layers=(0,), heads=(1,)))
    with Warehouse.open(tmp_path / "part.duckdb") as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []
        assert warehouse.rows("SELECT DISTINCT layer, head FROM rules") == [(0, 1)]
        assert warehouse.rows("SELECT DISTINCT heads FROM chunks") == [(["L0H1"],)]


def test_a_part_that_is_not_there_is_named(lake: Path, tmp_path: Path, attnrules: Callable[..., Any]) -> None:
    for words, said in (
        (("--layers", "0,7"), "--layers 7: "),
        (("--layers", 0, "--heads", 9), "--heads 9: "),
    ):
        told = attnrules("lake", lake, tmp_path / "part.duckdb", *words)
        assert (told.code, told.err.count("\n")) == (2, 1)
        assert said in told.err
    with Warehouse.open(lake, writable=True) as warehouse:
        warehouse.execute("UPDATE saes SET head = -1 WHERE role = 'output' AND layer = 0 AND head = 0")
    with pytest.raises(UsageError, match="layer 0 has an SAE over all of its heads"):
        convert(lake, tmp_path / "part.duckdb", part=Part(heads=(1,)))
    assert not (tmp_path / "part.duckdb").exists()


def test_an_ingest_that_stores_nothing_leaves_an_empty_folder(
    small_spec: IngestSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AttnRulesError("no room")

    monkeypatch.setattr(Flow, "commit", fail)
    (tmp_path / "lake").mkdir()
    with pytest.raises(AttnRulesError, match="no room"):
        ingest(tmp_path / "lake", small_spec)
    assert list((tmp_path / "lake").iterdir()) == []


def test_a_folder_with_other_things_is_not_ingested_into(small_spec: IngestSpec, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(WarehouseUnavailableError, match="is a folder"):
        ingest(tmp_path, small_spec, lake=True)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(b"PAR1"), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "damaged"),
    ],
    ids=["gone", "empty", "of four bytes", "cut"],
)
def test_a_file_that_is_lost_is_named(
    lake: Path, attnrules: Callable[..., Any], spoil: Callable[[Path], Any], said: str
) -> None:
    Warehouse.open(lake, writable=True).close()
    path = next(path for path in files_of(lake) if "tokens" in path.parts)
    spoil(path)
    told = attnrules("query", lake, "SELECT sum(token_id) FROM tokens")
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert f"{lake}: the file {path} is {said}; restore it from a copy" in told.err


def test_what_is_no_lake_is_refused_in_one_line(
    small: Path, lake: Path, tmp_path: Path, attnrules: Callable[..., Any]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "a=b").mkdir()
    (tmp_path / "a\\b").mkdir()
    for words, said in (
        (("lake", small, tmp_path / "full"), "is not empty"),
        (
            ("lake", small, tmp_path / "a=b/lake"),
            f"{tmp_path}/a=b/lake: a lake cannot lie below a path with '='",
        ),
        (("lake", small, tmp_path / "a\\b/lake"), "reads as a pattern, a key or a slash"),
        (("lake", lake, tmp_path / "a\\b.duckdb"), "reads the backslash in its path as a slash"),
        (("lake", small, tmp_path / "lake.duckdb"), "a lake is a folder"),
        (("lake", lake, small), "already exists"),
        (("lake", small, "gs://bucket/lake"), "gs:// are not supported"),
        (("info", "gs://bucket/lake"), "gs:// are not supported"),
        (
            ("ingest", "s3://b/l", "--model", "m", "--input-sae", "s", "--output-sae", "s", "--corpus", "c"),
            "is read, and not written to where it is",
        ),
        (("info", tmp_path / "full"), "is a folder"),
        (("info", lake / "catalogue.duckdb"), "is the catalogue of a lake"),
    ):
        told = attnrules(*words)
        assert told.code != 0
        assert told.err.count("\n") == 1
        assert said in told.err
    assert list((tmp_path / "a=b").iterdir()) == []


def test_a_damaged_warehouse_is_not_made_a_lake(small: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(small)) as connection:
        connection.execute("UPDATE tokens SET token_id = token_id + 1 WHERE seq_id = 5 AND pos = 9")
    with pytest.raises(AttnRulesError, match="does not pass its checks: contents of tokens"):
        convert(small, tmp_path / "lake")
    assert [path.name for path in tmp_path.iterdir()] == ["planted.duckdb"]
