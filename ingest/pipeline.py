"""`ingest`: the one pass from a model, its SAEs and a corpus into a warehouse.

`request`, `loading` and `held` say what is to be done, or refuse it; `flow` then does whatever the ledger
of the warehouse does not list yet. `shared` does the same with processes that capture elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from attnrules.ingest import held, remarks
from attnrules.ingest.capture.flow import Flow, Ledger, Work, chunk_size, work
from attnrules.ingest.capture.forward import Capture
from attnrules.ingest.capture.rotation import Rotation
from attnrules.ingest.capture.stages import in_thread
from attnrules.ingest.devices import environment, set_precision
from attnrules.ingest.loading import Loaded, find, load
from attnrules.ingest.output_rows import saes_without_tokens, store_output_tokens
from attnrules.ingest.reading import Corpus, begin, store_changed_files
from attnrules.ingest.request import IngestSpec, accept
from attnrules.ingest.sources.corpus import shortage
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.sae_weights import Role
from attnrules.ingest.sources.vocabulary import special_tokens
from attnrules.ingest.weight_rows import store_weights
from attnrules.warehouse import Warehouse

# How the stage is called that computes what follows from the facts.
REFRESHING = "counting and describing features"
# Rows that the SAEs' reconstruction is tried on before anything is stored.
_SAMPLED_ROWS = 8


@dataclass(frozen=True)
class IngestProgress:
    """How far an ingest is: `done` of `total` things of a stage, or one without a count."""

    stage: str
    done: int = 0
    total: int = 0
    things: str = "sequences"


@dataclass
class IngestResult:
    """What an ingest did: sequences captured by it and stored in the end, and what the user should know."""

    n_captured: int = 0
    n_sequences: int = 0
    warnings: list[str] = field(default_factory=list)


Report = Callable[[IngestProgress], None]


def ingest(
    path: Path, spec: IngestSpec, report: Report = lambda _: None, *, lake: bool = False
) -> IngestResult:
    """Bring the warehouse at `path` to hold `spec`, making it when it does not exist.

    What is made is a lake where `lake` is set or `path` is an empty folder, and a file otherwise.
    Does only what is missing: an interrupted ingest goes on, more sequences, layers or heads are added.
    Raises `AttnRulesError` when a source is missing or malformed, when the SAEs do not fit the model, or
    when the warehouse holds another model, SAE or cutting of the corpus; stored chunks stay as they are.
    Ctrl-C ends it within a second or two, wherever it is.
    """
    with begun(path, spec, report, lake=lake) as (warehouse, loaded, ready):
        return _fill(warehouse, loaded, ready, report)


@contextmanager
def begun(
    path: Path, spec: IngestSpec, report: Report, *, lake: bool
) -> Iterator[tuple[Warehouse, Loaded, Ready]]:
    """Yield the warehouse, opened or made, with what was asked for: loaded, and tried on the first rows.

    What was made is removed when the block fails before any sequence is stored. Raises what `ingest` does.
    """
    request = accept(path, spec)
    sources = find(request)
    stored = Warehouse.open(path, writable=True) if Warehouse.is_there(path) else None
    with stored or nullcontext():
        if stored is not None:
            request = held.reconcile(stored, request)
        loaded = load(request, sources, stored, lambda stage: report(IngestProgress(stage)))
        ready = _make_ready(loaded, stored, report)
        with nullcontext(stored) if stored else _made(path, loaded.model.d_head, lake) as warehouse:
            yield warehouse, loaded, ready


@dataclass(frozen=True)
class Ready:
    """What capturing begins with.

    Arguments:
        corpus: begun to be read.
        captures: one for each device.
        errors: the share of variance that each SAE misses on the first rows.
        rotations: of layers with rotary positions, how they turn queries and keys, None where not found out.
    """

    corpus: Corpus
    captures: list[Capture]
    errors: Mapping[tuple[Role, Location], float]
    rotations: Mapping[int, Rotation | None]


def _make_ready(loaded: Loaded, stored: Warehouse | None, report: Report) -> Ready:
    """Try the model on the first rows, and load it onto the other devices."""
    spec = loaded.request.spec
    report(IngestProgress("beginning the corpus"))
    corpus = begin(loaded, stored, _SAMPLED_ROWS)
    set_precision(spec.dtype, spec.seed)
    captures = [loaded.capture()]
    rotations = captures[0].verify(corpus.sample, loaded.targets.layers)
    errors = captures[0].reconstruction_errors(corpus.sample)
    for device in loaded.devices[1:]:
        report(IngestProgress(f"loading onto {device}"))
        captures.append(loaded.capture_on(device, stored))
    return Ready(corpus, captures, errors, rotations)


@contextmanager
def _made(path: Path, d_head: int, lake: bool) -> Iterator[Warehouse]:
    with Warehouse.create(path, d_head=d_head, lake=lake or path.is_dir()) as warehouse:
        try:
            yield warehouse
        except Exception:
            # A file that holds no sequence would only be in the way of the next try.
            if not warehouse.value("SELECT count(*) FROM chunks"):
                warehouse.close()
                Warehouse.remove(path)
            raise


def _fill(warehouse: Warehouse, loaded: Loaded, ready: Ready, report: Report) -> IngestResult:
    spec, model = loaded.request.spec, loaded.model
    result = IngestResult(warnings=notes(warehouse, loaded, ready))
    n_before = n_stored(warehouse)
    with warehouse.run("ingest", asdict(spec), environment(model)) as run_id:
        store_of_model(warehouse, loaded, ready, report)
        _capture_all(warehouse, run_id, loaded, ready, report, result)
        result.warnings += remarks.of_mined(warehouse, n_before, result.n_sequences)
        result.warnings += remarks.of_special_tokens(warehouse, special_tokens(model.bridge.tokenizer))
    return result


def notes(warehouse: Warehouse, loaded: Loaded, ready: Ready) -> list[str]:
    """Return what is to be said before anything is captured; record changed files of the corpus."""
    model, sources = loaded.model, loaded.sources
    return [
        *remarks.of_names(model, sources.inputs, sources.outputs),
        *remarks.of_training(loaded.saes, loaded.request.spec.corpus.seq_len),
        *remarks.of_reconstructions(ready.errors),
        *remarks.of_rotations(model, ready.rotations),
        *remarks.of_unrecorded(warehouse),
        *store_changed_files(warehouse, loaded.request.spec, ready.corpus),
    ]


def store_of_model(warehouse: Warehouse, loaded: Loaded, ready: Ready, report: Report) -> None:
    """Store the weights, and what output features say by them, where that is not stored yet."""
    in_thread(partial(store_weights, warehouse, loaded, ready.errors, ready.rotations), warehouse.interrupt)
    if saes := saes_without_tokens(warehouse, loaded):
        report(IngestProgress("reading off the weights what features say"))
        store = partial(store_output_tokens, warehouse, loaded, saes, ready.corpus.sample)
        in_thread(store, warehouse.interrupt)


def work_to_do(warehouse: Warehouse, loaded: Loaded, ready: Ready) -> Iterator[Work]:
    """Yield the chunks to capture, read from the corpus as they are taken."""
    spec, targets, corpus = loaded.request.spec, loaded.targets, ready.corpus
    size = spec.chunk_size or chunk_size(ready.captures[0].run(corpus.sample[:1], 0, targets))
    return work(warehouse, targets, corpus.rows, n_sequences=spec.n_sequences, chunk_size=size)


def _capture_all(
    warehouse: Warehouse, run_id: int, loaded: Loaded, ready: Ready, report: Report, result: IngestResult
) -> None:
    spec = loaded.request.spec
    todo = work_to_do(warehouse, loaded, ready)
    total = Ledger(warehouse).n_to_capture(loaded.targets, spec.n_sequences)
    flow = Flow(
        warehouse, ready.captures, batch_size=spec.batch_size, run_id=run_id, files=ready.corpus.files
    )
    try:
        flow.run(todo, lambda n: report(IngestProgress("capturing", n, total)) if n else None)
    finally:
        result.n_captured = flow.n_committed
    complete(warehouse, spec, report, result)


def n_stored(warehouse: Warehouse) -> int:
    """Return the number of sequences that are stored."""
    return int(warehouse.value("SELECT coalesce(sum(n_seqs), 0) FROM chunks"))


def complete(
    warehouse: Warehouse,
    spec: IngestSpec,
    report: Report,
    result: IngestResult,
    refresh: Callable[[], None] | None = None,
) -> None:
    """Say in `result` what is stored, and compute what follows from the facts, or let `refresh` store it."""
    result.n_sequences = n_stored(warehouse)
    if result.n_sequences < spec.n_sequences:
        result.warnings.append(shortage(spec.corpus, result.n_sequences, spec.n_sequences))
    if warehouse.is_outdated():
        report(IngestProgress("storing what was counted" if refresh else REFRESHING))
        in_thread(refresh or warehouse.refresh_derived, warehouse.interrupt)
