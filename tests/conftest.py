"""One planted warehouse and one way to run the command, for the whole suite."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# Everything the tests load is local: without this, libraries wait for a hub that is not needed.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"

from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.corpus import CorpusSpec
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse
from tests.planted import PlantedModel, plant


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> PlantedModel:
    """The planted model with its SAEs and corpus on disk."""
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def planted_spec(planted: PlantedModel) -> IngestSpec:
    """How to ingest the planted model: every pair of positions is stored."""
    return IngestSpec(
        model=str(planted.model_dir),
        input_sae=str(planted.input_sae_dir),
        output_sae=str(planted.output_sae_dir),
        corpus=CorpusSpec(str(planted.corpus_path), seq_len=planted.seq_len),
        n_sequences=600,
        chunk_size=256,
        min_attention=0.0,
        device="cpu",
    )


@pytest.fixture(scope="session")
def ingested_once(planted_spec: IngestSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of the planted model, not mined. Not to be written to."""
    path = tmp_path_factory.mktemp("ingested") / "planted.duckdb"
    ingest(path, planted_spec)
    return path


@pytest.fixture(scope="session")
def mined_once(ingested_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same warehouse, mined under both scalings. Not to be written to."""
    path = tmp_path_factory.mktemp("mined") / "planted.duckdb"
    shutil.copy(ingested_once, path)
    with Warehouse.open(path, writable=True) as warehouse:
        for method, scaling in (("all", "paper"), ("magnitude", "model")):
            spec = SkipgramSpec(method=method, n_features=None, examples_per_split=10, scaling=scaling)
            mine_skipgrams(warehouse, spec)
    return path


@pytest.fixture
def ingested(ingested_once: Path, tmp_path: Path) -> Path:
    """A private copy of the ingested warehouse."""
    return Path(shutil.copy(ingested_once, tmp_path / "planted.duckdb"))


@pytest.fixture
def mined(mined_once: Path, tmp_path: Path) -> Path:
    """A private copy of the mined warehouse."""
    return Path(shutil.copy(mined_once, tmp_path / "planted.duckdb"))


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def attnrules(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process."""
    from attnrules.cli import run

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
