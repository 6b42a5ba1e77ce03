"""One planted warehouse, made once for all workers, and one way to run the command, for the whole suite."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

# Everything the tests load is local: without this, libraries wait for a hub that is not needed.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores already: more threads would only get in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.queries.absence import AbsenceSpec, mine_absence
from attnrules.queries.counting import CountingSpec, mine_counting
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse

if TYPE_CHECKING:
    # The process that only hands tests out to the workers need not load torch.
    from tests.planted import PlantedModel

# How long an example takes says how busy the machine is.
settings.register_profile("attnrules", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("attnrules")

# Files that take longest, in the order that workers begin with: a long one begun last would run alone. The
# first needs no planted warehouse, which the worker of the second makes meanwhile.
_LONGEST = (
    *("tiny_warehouses", "terminal", "upgrade", "skipgrams", "hub", "adding", "safety", "determinism"),
    *("pipeline", "models_whole", "cli", "interventions", "saes", "demo_model", "plans", "demo_corpus"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files: the longest first, the others as they are."""
    place = {f"test_{name}": at for at, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_configure() -> None:
    """Look for no garbage while torch and its kin load, a fifth of what that takes: they leave none."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage again, in what the tests themselves make."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Any]:
    """Make a folder once for all workers: `made_once(name, make)` returns what `make(folder)` returned."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, make: Callable[[Path], Any]) -> Any:
        folder, result = shared / name, shared / f"{name}.pickle"
        with FileLock(shared / f"{name}.lock"):
            if not result.exists():
                folder.mkdir()
                result.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(result.read_bytes())

    return made


@pytest.fixture(scope="session")
def planted(made_once: Callable[..., Any]) -> PlantedModel:
    """The planted model with its SAEs and corpus on disk."""
    from tests.planted import plant

    model: PlantedModel = made_once("planted", plant)
    return model


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
def ingested_once(
    planted_spec: IngestSpec, made_once: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A warehouse of the planted model, not mined; this worker's own copy. Not to be written to."""

    def make(folder: Path) -> Path:
        ingest(folder / "planted.duckdb", planted_spec)
        return folder / "planted.duckdb"

    made = made_once("ingested", make)
    return Path(shutil.copy(made, tmp_path_factory.mktemp("ingested") / "planted.duckdb"))


@pytest.fixture(scope="session")
def mined_once(
    ingested_once: Path, made_once: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same warehouse, mined under both scalings; this worker's own copy. Not to be written to."""

    def make(folder: Path) -> Path:
        path = Path(shutil.copy(ingested_once, folder / "planted.duckdb"))
        with Warehouse.open(path, writable=True) as warehouse:
            for method, scaling in (("all", "paper"), ("magnitude", "model")):
                spec = SkipgramSpec(method=method, n_features=None, examples_per_split=10, scaling=scaling)
                mine_skipgrams(warehouse, spec)
        return path

    made = made_once("mined", make)
    return Path(shutil.copy(made, tmp_path_factory.mktemp("mined") / "planted.duckdb"))


@pytest.fixture(scope="session")
def small_spec(planted_spec: IngestSpec) -> IngestSpec:
    """How to ingest few sequences of the planted model, in two chunks."""
    return replace(planted_spec, n_sequences=96, chunk_size=48)


@pytest.fixture(scope="session")
def small_ingested_once(small_spec: IngestSpec, made_once: Callable[..., Any]) -> Path:
    """A warehouse of few sequences, not mined. Not to be written to."""

    def make(folder: Path) -> Path:
        ingest(folder / "planted.duckdb", small_spec)
        return folder / "planted.duckdb"

    path: Path = made_once("small_ingested", make)
    return path


@pytest.fixture(scope="session")
def small_once(small_ingested_once: Path, made_once: Callable[..., Any]) -> Path:
    """A warehouse with rows of every kind but interventions, for tests that read or copy all of them.

    Few sequences, and rules of four heads. Not to be written to.
    """

    def make(folder: Path) -> Path:
        made = Path(shutil.copy(small_ingested_once, folder / "planted.duckdb"))
        with Warehouse.open(made, writable=True) as warehouse:
            spec = SkipgramSpec(n_features=None, examples_per_split=4, layers=(0, 1), heads=(0, 1))
            mine_skipgrams(warehouse, spec)
            mine_absence(warehouse, AbsenceSpec(max_examples=10))
            mine_counting(warehouse, CountingSpec(min_support=1))
        return made

    path: Path = made_once("small", make)
    return path


@pytest.fixture
def small(small_once: Path, tmp_path: Path) -> Path:
    """A private copy of it."""
    return Path(shutil.copy(small_once, tmp_path / "planted.duckdb"))


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
