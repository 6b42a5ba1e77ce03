"""An ingest that several processes share: one begins it, any number capture, one ends it.

Who begins stores what follows from the model and writes down the token rows of every chunk, so that who
captures needs the model and its SAEs but not the corpus. A captured chunk is a folder of files. Who ends it
takes the files of all chunks into the lake, with their rows of the ledger, in one transaction. What follows
from the facts is computed then, here or a layer at a time elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest import held, remarks
from attnrules.ingest.capture.flow import (
    Capturer,
    Ledger,
    Tokens,
    Work,
    add_files,
    pack,
    record,
)
from attnrules.ingest.capture.forward import Targets
from attnrules.ingest.capture.stages import in_thread
from attnrules.ingest.commits import commits_of
from attnrules.ingest.devices import environment, free_devices, set_precision, use_threads
from attnrules.ingest.loading import find, load
from attnrules.ingest.pipeline import (
    IngestProgress,
    IngestResult,
    Report,
    begun,
    complete,
    n_stored,
    notes,
    store_of_model,
    work_to_do,
)
from attnrules.ingest.request import IngestSpec, Request
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.ingest.sources.vocabulary import special_tokens
from attnrules.warehouse import Warehouse
from attnrules.warehouse.captured import Captured, store_captured, write_captured

# Of the folder of an ingest: rows of 32-bit token ids, one chunk after the other.
_TOKENS = "tokens"
# What may be files of this machine, named from the folder that the command was given in.
_PATHS = ("model", "input_sae", "output_sae")


@dataclass(frozen=True)
class Todo:
    """The chunks of an ingest that are to be captured, as JSON holds them.

    Arguments:
        run_id: the run that they are attributed to. n_before: sequences that were stored before it.
        chunks: (chunk_id, first sequence, sequences, place of its targets) of each.
        targets: the fields of each distinct `Targets`.
        files: rows of `corpus_files` of the files that were opened for them.
        special: ids, as texts, and names of special tokens. warnings: what the user should know.
    """

    run_id: int
    n_before: int
    chunks: list[tuple[int, int, int, int]]
    targets: list[dict[str, list[Any]]]
    files: list[dict[str, Any]]
    special: dict[str, str]
    warnings: list[str]

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(n_seqs for _, _, n_seqs, _ in self.chunks)]

    def work(self, place: int, folder: Path, ledger: Ledger) -> Work:
        """Return the chunk at `place`, with its rows of `folder`; `ledger` is that of the lake."""
        chunk_id, first_seq, n_seqs, kind = self.chunks[place]
        fields = self.targets[kind]
        targets = Targets(
            tuple(fields["layers"]), *(tuple(map(tuple, fields[name])) for name in ("attention", "outputs"))
        )
        return Work(
            chunk_id, first_seq, self._rows(place, n_seqs, folder / _TOKENS), targets, ledger.chunk(chunk_id)
        )

    def _rows(self, place: int, n_seqs: int, path: Path) -> Tokens:
        """Return token ids [n_seqs, seq_len]."""
        try:
            rows = np.memmap(path, np.int32, "r").reshape(self._starts[-1], -1)
        except (OSError, ValueError) as error:
            raise AttnRulesError(f"{path}: cannot be read: {one_line(error)}") from error
        return rows[self._starts[place] : self._starts[place] + n_seqs].astype(np.int64)


def anchored(spec: IngestSpec) -> dict[str, Any]:
    """Return the fields of a specification as JSON holds them, its files named from the root.

    Without the device, which may be another one where the ingest goes on.
    """
    fields = json.loads(json.dumps(asdict(spec)))
    del fields["device"]
    for place, name in [*((fields, name) for name in _PATHS), (fields["corpus"], "source")]:
        if Path(place[name]).exists():
            place[name] = str(Path(place[name]).resolve())
    return dict(fields)


def as_spec(fields: Mapping[str, Any], device: str) -> IngestSpec:
    """Return the specification of `anchored` fields, on a device."""
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    plain |= {"corpus": CorpusSpec(**fields["corpus"]), "device": device}
    return IngestSpec(**plain)


def begin(path: Path, spec: IngestSpec, folder: Path, report: Report) -> Todo:
    """Bring a lake at `path`, made where there is none, to where capturing begins.

    Makes `folder`, which gets the token rows of the chunks. Raises what `ingest` does; a lake that was made
    is removed then.
    """
    with begun(path, spec, report, lake=True) as (warehouse, loaded, ready):
        warnings, n_before = notes(warehouse, loaded, ready), n_stored(warehouse)
        arguments, where = asdict(spec), environment(loaded.model)
        with warehouse.run("ingest", arguments, where, goes_on=True) as run_id:
            store_of_model(warehouse, loaded, ready, report)
            report(IngestProgress("reading the corpus"))
            chunks, targets = _write_tokens(work_to_do(warehouse, loaded, ready), folder)
        n_files = int(warehouse.value("SELECT count(*) FROM corpus_files"))
        files = ready.corpus.files.rows[n_files:]
        special = {str(token): name for token, name in special_tokens(loaded.model.bridge.tokenizer).items()}
    del loaded, ready
    free_devices()
    return Todo(run_id, n_before, chunks, targets, files, special, warnings)


def _write_tokens(
    work: Iterator[Work], folder: Path
) -> tuple[list[tuple[int, int, int, int]], list[dict[str, Any]]]:
    """Write the token rows of all chunks to a new folder; return `Todo.chunks` and `Todo.targets`."""
    folder.mkdir(parents=True)
    kinds: dict[Targets, int] = {}
    chunks = []
    with (folder / _TOKENS).open("wb") as file:
        for chunk in work:
            kind = kinds.setdefault(chunk.targets, len(kinds))
            chunks.append((chunk.chunk_id, chunk.first_seq, len(chunk.tokens), kind))
            file.write(chunk.tokens.astype(np.int32).tobytes())
    return chunks, [asdict(targets) for targets in kinds]


@contextmanager
def capturing(
    lake: Path, spec: IngestSpec, todo: Todo, folder: Path, threads: int | None
) -> Iterator[Callable[[int, Path], None]]:
    """Load the model once and yield what captures a chunk of `todo` and writes it to a folder.

    `lake`: a copy that nobody else has open, as it was when capturing began. `folder` has the token rows.
    Raises what `ingest` does.
    """
    use_threads(threads)
    with Warehouse.open(lake) as stored:
        request = held.reconcile(stored, Request(spec, commits=commits_of(stored)))
        loaded = load(request, find(request), stored)
        set_precision(spec.dtype, spec.seed)
        capturer = Capturer(loaded.capture(), spec.batch_size)
        ledger = Ledger(stored)

        def capture(place: int, target: Path) -> None:
            work = todo.work(place, folder, ledger)
            _, tables = pack((work, capturer.blocks(work)))
            write_captured(tables, target)

        yield capture


def store(warehouse: Warehouse, todo: Todo, folder: Path, captured: Sequence[Path], report: Report) -> None:
    """Store what was captured of all chunks of `todo`, unless that is stored.

    `captured`: the folder of each chunk. Raises `AttnRulesError` where one is damaged, and stores nothing.
    """
    ledger = Ledger(warehouse)
    work = [todo.work(place, folder, ledger) for place in range(len(todo.chunks))]
    if work and not ledger.holds(work[0].chunk_id, work[0].targets):
        report(IngestProgress("storing what was captured"))
        with warehouse.run("ingest", {}, again=todo.run_id, goes_on=True):
            in_thread(partial(_store, warehouse, todo, work, captured), warehouse.interrupt)


def finish(
    warehouse: Warehouse,
    spec: IngestSpec,
    todo: Todo,
    report: Report,
    refresh: Callable[[], None] | None = None,
) -> IngestResult:
    """Compute what follows from the facts that are stored, or let `refresh` store it, and end the run."""
    result = IngestResult(sum(n_seqs for _, _, n_seqs, _ in todo.chunks), warnings=list(todo.warnings))
    with warehouse.run("ingest", {}, again=todo.run_id):
        complete(warehouse, spec, report, result, refresh)
        result.warnings += remarks.of_mined(warehouse, todo.n_before, result.n_sequences)
        names = {int(token): name for token, name in todo.special.items()}
        result.warnings += remarks.of_special_tokens(warehouse, names)
    return result


def _store(warehouse: Warehouse, todo: Todo, work: Sequence[Work], captured: Sequence[Path]) -> None:
    with warehouse.transaction():
        chunks = [Captured.read(path) for path in captured]
        store_captured(warehouse, chunks)
        for of_chunk, found in zip(work, chunks, strict=True):
            record(warehouse, of_chunk, todo.run_id, found.n_rows())
        if any(of_chunk.stored is None for of_chunk in work):
            add_files(warehouse, todo.files)
        warehouse.outdate_derived()
