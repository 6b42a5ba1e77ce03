"""`attnrules ingest --dry-run`: the plan is what the ingest then does."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.plan import plan
from attnrules.warehouse import Warehouse

FACTS = ("tokens", "token_scales", "input_activations", "output_activations", "attention_sources")


@pytest.fixture(scope="module")
def small(planted_spec: IngestSpec) -> IngestSpec:
    return replace(planted_spec, n_sequences=64, batch_size=32, layers=(0,), heads=(0, 1))


@pytest.fixture(scope="module")
def held(small: IngestSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "held.duckdb"
    ingest(path, small)
    return path


def counts(path: Path) -> dict[str, int]:
    with Warehouse.open(path) as warehouse:
        tables = (*FACTS, "projections", "output_features")
        return {table: int(warehouse.value(f"SELECT count(*) FROM {table}")) for table in tables}


def test_a_plan_from_nothing_is_measured_on_the_first_sequences(small: IngestSpec, held: Path) -> None:
    planned = plan(held.with_name("none.duckdb"), small)
    assert not held.with_name("none.duckdb").exists()
    assert planned.heads == [(0, 0), (0, 1)]
    assert (planned.n_sequences, planned.n_to_capture) == (64, 64)
    assert "32 sequences captured here" in planned.basis
    for table, n in counts(held).items():
        assert planned.rows[table] == pytest.approx(n, rel=0.15), table


def test_a_plan_of_more_uses_the_rates_of_the_warehouse(
    small: IngestSpec, held: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(held, tmp_path / "more.duckdb"))
    more = replace(small, n_sequences=160, layers=(0, 1), heads=(0, 1))
    planned, before = plan(path, more), counts(path)
    assert "what this warehouse holds" in planned.basis
    assert (planned.stored_sequences, planned.stored_heads) == (64, [(0, 0), (0, 1)])
    assert planned.n_to_capture == 160
    ingest(path, more)
    for table, n in counts(path).items():
        # Another layer's features fire at another rate; how many there are of the rest is known.
        close = 0.5 if table in ("output_activations", "attention_sources") else 0.05
        assert planned.rows[table] == pytest.approx(n - before[table], rel=close), table
    assert planned.seconds is not None


def test_a_plan_of_what_is_there_adds_nothing(small: IngestSpec, held: Path) -> None:
    planned = plan(held, small)
    assert planned.n_to_capture == 0
    assert set(planned.rows.values()) == {0}
    assert planned.n_bytes == 0


def test_a_dry_run_prints_and_writes_nothing(attnrules: Any, small: IngestSpec, tmp_path: Path) -> None:
    words = ["--model", small.model, "--input-sae", small.input_sae, "--output-sae", small.output_sae]
    words += ["--corpus", small.corpus.source, "--seq-len", "32", "--sequences", "100", "--dry-run"]
    outcome = attnrules("ingest", tmp_path / "w.duckdb", *words)
    assert outcome.code == 0, outcome.err
    assert not list(tmp_path.iterdir())
    assert "would be made" in outcome.out
    assert re.search(r"attention_sources +[\d,]+", outcome.out)
    for line in ("layers ", "heads ", "sequences ", "disk ", "time ", "basis "):
        assert f"\n{line}" in outcome.out


@pytest.mark.parametrize(
    ("option", "names"), [("--seq-len", "--seq-len 32, not 16"), ("--layers", "layers 0 to 1")]
)
def test_a_dry_run_refuses_what_the_ingest_would(
    attnrules: Any, small: IngestSpec, held: Path, option: str, names: str
) -> None:
    words = ["--model", small.model, "--input-sae", small.input_sae, "--output-sae", small.output_sae]
    words += ["--corpus", small.corpus.source, "--min-attention", "0", "--dry-run"]
    changed = {"--seq-len": "32", option: {"--seq-len": "16", "--layers": "7"}[option]}
    words += [word for pair in changed.items() for word in pair]
    outcome = attnrules("ingest", held, *words)
    assert outcome.code != 0
    assert names in outcome.err


@pytest.mark.parametrize("option", ["--revision", "--input-sae-id", "--output-sae-id"])
@pytest.mark.parametrize("more", [("--dry-run",), ()])
def test_what_chooses_among_what_a_hub_has_chooses_nothing_of_folders(
    attnrules: Any, small: IngestSpec, tmp_path: Path, option: str, more: tuple[str, ...]
) -> None:
    words = [
        *("ingest", tmp_path / "w.duckdb", "--model", small.model, "--input-sae", small.input_sae),
        *("--output-sae", small.output_sae, "--corpus", small.corpus.source, option, "x"),
    ]
    told = attnrules(*words, *more)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert told.err.startswith(f"attnrules: {option} x: ")
    assert told.err.endswith("is a file or folder, of which it chooses nothing; leave it out\n")
    assert not (tmp_path / "w.duckdb").exists()


def test_what_a_preset_chooses_among_is_nothing_of_folders(
    attnrules: Any, small: IngestSpec, tmp_path: Path
) -> None:
    words = [
        *("ingest", tmp_path / "w.duckdb", "--preset", "gemma-2-2b-scope", "--model", small.model),
        *("--input-sae", small.input_sae, "--output-sae", small.output_sae, "--corpus", small.corpus.source),
        *("--sequences", 8, "--seq-len", 16, "--device", "cpu", "--dry-run"),
    ]
    told = attnrules(*words)
    assert told.code == 0, told.err


def test_a_dry_run_compares_the_sequences_of_a_changed_corpus(
    small: IngestSpec, held: Path, tmp_path: Path
) -> None:
    corpus = Path(shutil.copy(small.corpus.source, tmp_path))
    spec = replace(small, corpus=replace(small.corpus, source=str(corpus)))
    records = corpus.read_text("utf-8").splitlines(keepends=True)
    corpus.write_text("".join([*records, records[0]]), "utf-8")
    said = dict(plan(held, spec).sources)[f"corpus {corpus}"]
    assert "is no longer what was read" in said
    corpus.write_text("".join(records[1:]), "utf-8")
    with pytest.raises(AttnRulesError, match="does not yield its sequence 0 again"):
        plan(held, spec)
