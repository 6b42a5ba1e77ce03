"""The flow of sequences through an ingest: what is still to do, captured, packed and committed.

The unit of work is a chunk of sequences, committed with its ledger row in one transaction. The ledger
says of each chunk which heads it holds, so that resuming after a kill, adding sequences, adding heads and
replacing an SAE are the same thing: doing whatever the ledger does not list yet.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest.capture.batching import BatchSize, is_out_of_memory
from attnrules.ingest.capture.forward import CONTRIBUTIONS, Block, Capture, Targets
from attnrules.ingest.capture.stages import Stages, Stop
from attnrules.ingest.sources.local_corpus import FilesRead
from attnrules.warehouse import WHOLE_LAYER, Warehouse, digests, head_name

Tokens = npt.NDArray[np.int64]

FACT_TABLES = ("input_activations", "output_activations", "attention_sources", "token_scales")
# Rows of a chunk that are held in memory until it is committed, bytes.
_CHUNK_BYTES = 512 << 20
_LARGEST_CHUNK = 512
# Of a head without output features of its own: they are those of an SAE over its whole layer, or its SAE was
# replaced and they are to be captured again.
_ATTENTION_ONLY = ":attention"
_NAME = re.compile(r"L(\d+)(?:H(\d+))?(:attention)?")

Pairs = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Chunk:
    """A row of the ledger: a stored range of sequences and the heads it holds."""

    chunk_id: int
    first_seq: int
    n_seqs: int
    heads: list[str]

    @property
    def attention(self) -> Pairs:
        """(layer, head) pairs whose attention is stored."""
        return frozenset((layer, head) for layer, head, _ in self._held() if head != WHOLE_LAYER)

    @property
    def outputs(self) -> Pairs:
        """(layer, head) pairs whose output features are stored, head `WHOLE_LAYER` for a whole layer's."""
        return frozenset((layer, head) for layer, head, features in self._held() if features)

    def _held(self) -> Iterator[tuple[int, int, bool]]:
        for name in self.heads:
            if match := _NAME.fullmatch(name):
                head = WHOLE_LAYER if match[2] is None else int(match[2])
                yield int(match[1]), head, match[3] is None


def _names(attention: Iterable[tuple[int, int]], outputs: Pairs) -> list[str]:
    """Return how the ledger writes which attention and which output features are stored."""
    return [
        head_name(*pair) + ("" if pair in outputs else _ATTENTION_ONLY)
        for pair in sorted({*attention, *outputs})
    ]


@dataclass(frozen=True)
class Work:
    """A range of sequences, what to capture from them, and the ledger row where there is one already."""

    chunk_id: int
    first_seq: int
    tokens: Tokens
    targets: Targets
    stored: Chunk | None


class Ledger:
    """What is stored, and therefore what is missing."""

    def __init__(self, warehouse: Warehouse) -> None:
        rows = warehouse.rows("SELECT chunk_id, first_seq, n_seqs, heads FROM chunks ORDER BY first_seq")
        self.chunks = [Chunk(*row) for row in rows]
        self._by_id = {chunk.chunk_id: chunk for chunk in self.chunks}

    @property
    def n_sequences(self) -> int:
        """Sequences stored."""
        return sum(chunk.n_seqs for chunk in self.chunks)

    def holds(self, chunk_id: int, targets: Targets) -> bool:
        """Tell whether a chunk is stored with all of `targets`."""
        chunk = self.chunk(chunk_id)
        return chunk is not None and missing(chunk, targets).is_empty

    def chunk(self, chunk_id: int) -> Chunk | None:
        """Return a chunk, None where it is not stored."""
        return self._by_id.get(chunk_id)

    def lacks(self, layer: int, head: int) -> bool:
        """Tell whether any stored sequence lacks the output features of this head."""
        return any((layer, head) not in chunk.outputs for chunk in self.chunks)

    def n_to_capture(self, targets: Targets, n_sequences: int) -> int:
        """Return how many sequences have to go through the model to hold `targets` of `n_sequences`."""
        incomplete = sum(chunk.n_seqs for chunk in self.chunks if not missing(chunk, targets).is_empty)
        return incomplete + max(0, n_sequences - self.n_sequences)


def missing(chunk: Chunk, targets: Targets) -> Targets:
    """Return the targets that a stored chunk lacks."""
    attention, outputs = chunk.attention, chunk.outputs
    layers = {layer for layer, _ in attention}
    return Targets(
        layers=tuple(layer for layer in targets.layers if layer not in layers),
        attention=tuple(pair for pair in targets.attention if pair not in attention),
        outputs=tuple(pair for pair in targets.outputs if pair not in outputs),
    )


def chunk_size(blocks: Sequence[Block]) -> int:
    """Return the sequences to commit together, as many as fit in memory a few times.

    `blocks` are the rows of one sequence.
    """
    n_bytes = sum(column.nbytes for block in blocks for column in block.part().columns.values())
    return int(np.clip(_CHUNK_BYTES // max(1, n_bytes), 1, _LARGEST_CHUNK))


def work(
    warehouse: Warehouse, targets: Targets, rows: Iterator[Tokens], *, n_sequences: int, chunk_size: int
) -> Iterator[Work]:
    """Yield what the ledger lacks: heads of stored chunks first, then new sequences from `rows`.

    `rows` begins after the sequences that are stored, as `refuse_other_rows` leaves it.
    """
    ledger = Ledger(warehouse)
    for chunk in ledger.chunks:
        lacking = missing(chunk, targets)
        if not lacking.is_empty:
            tokens = _stored_tokens(warehouse, chunk)
            yield Work(chunk.chunk_id, chunk.first_seq, tokens, lacking, chunk)
    next_id = 1 + max((chunk.chunk_id for chunk in ledger.chunks), default=-1)
    first_seq = ledger.n_sequences
    while first_seq < n_sequences:
        taken = list(islice(rows, min(chunk_size, n_sequences - first_seq)))
        if not taken:
            return
        yield Work(next_id, first_seq, np.stack(taken), targets, None)
        first_seq += len(taken)
        next_id += 1


def refuse_other_rows(warehouse: Warehouse, rows: Iterator[Tokens], changed: str | None) -> None:
    """Take the stored sequences from `rows`, the corpus from its beginning, comparing token by token.

    `changed` says how its files differ from those that were read, None where they do not. Raises
    `AttnRulesError` that names the first sequence that differs.
    """
    for chunk in Ledger(warehouse).chunks:
        for seq_id, stored in enumerate(_stored_tokens(warehouse, chunk), chunk.first_seq):
            row = next(rows, None)
            if row is None or not np.array_equal(row, stored):
                raise _other_row(warehouse, seq_id, changed)


def _other_row(warehouse: Warehouse, seq_id: int, changed: str | None) -> AttnRulesError:
    said = [] if changed is None else [changed]
    if warehouse.value("SELECT lines IS NULL FROM corpus"):
        said.append("schema version 2 read the files of every split of a folder, now --split is read alone")
    why = f" ({'; '.join(said)})" if said else ""
    return AttnRulesError(
        f"{warehouse.path}: the corpus does not yield its sequence {seq_id} again, the corpus has changed"
        f"{why}; give the same corpus or use another file"
    )


class Flow:
    """Runs work through the stages: read, capture on each device, pack, commit.

    Arguments:
        captures: one for each device.
        batch_size: sequences in a forward pass, None to find it by trying on each device.
        run_id: run that the chunks are attributed to.
        files: the files of the corpus, as they are read; stored with the chunks.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        captures: Sequence[Capture],
        *,
        batch_size: int | None,
        run_id: int,
        files: FilesRead,
    ) -> None:
        self._warehouse = warehouse
        self._captures = captures
        self._batch_size = batch_size
        self._run_id = run_id
        self._files = files
        self._n_files = int(warehouse.value("SELECT count(*) FROM corpus_files"))
        self._stop = Stop()
        self._counting = threading.Lock()
        self.n_captured = 0
        self.n_committed = 0

    def run(self, work: Iterator[Work], report: Callable[[int], None]) -> None:
        """Capture and commit all `work`; call `report` with the sequences captured so far meanwhile.

        Raises the first error of any stage; what was read before it is committed.
        """
        with self._warehouse.writing_beside_cpu() if self._on_cpu() else nullcontext():
            self._run(work, report)

    def _on_cpu(self) -> bool:
        return all(capture.model.device.type == "cpu" for capture in self._captures)

    def _run(self, work: Iterator[Work], report: Callable[[int], None]) -> None:
        Stages(
            work,
            [self._worker(capture) for capture in self._captures],
            pack,
            self.commit,
            in_flight=2 * len(self._captures) + 2,
            abort=self._warehouse.interrupt,
            stop=self._stop,
        ).run(lambda: report(self.n_captured))

    def _worker(self, capture: Capture) -> Callable[[Work], tuple[Work, list[Block]]]:
        capturer = Capturer(capture, self._batch_size, self._stop.check, self._count)
        return lambda work: (work, capturer.blocks(work))

    def _count(self, n_sequences: int) -> None:
        with self._counting:
            self.n_captured += n_sequences

    def commit(self, packed: tuple[Work, dict[str, pa.Table]]) -> None:
        """Store what was captured of a chunk and its row of the ledger, all or nothing."""
        work, tables = packed
        warehouse = self._warehouse
        with warehouse.transaction():
            for table, rows in tables.items():
                if table == CONTRIBUTIONS:
                    warehouse.add_contributions(rows)
                else:
                    warehouse.append(table, rows)
            record(warehouse, work, self._run_id, {name: rows.num_rows for name, rows in tables.items()})
            n_files = self._commit_files() if work.stored is None else 0
            warehouse.outdate_derived()
        self._n_files += n_files
        self.n_committed += len(work.tokens)

    def _commit_files(self) -> int:
        """Store the files opened since; call it with new sequences, when all stored ones were read again."""
        files = self._files.rows[self._n_files :]
        add_files(self._warehouse, files)
        return len(files)


class Capturer:
    """Captures whole chunks on one device, in batches of a size that it finds out.

    Arguments:
        batch_size: sequences in a forward pass, None to find it by trying.
        check: raises where capturing is to stop. count: told of sequences that were captured.
    """

    def __init__(
        self,
        capture: Capture,
        batch_size: int | None,
        check: Callable[[], None] = lambda: None,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._capture = capture
        self._asked = batch_size
        self._batch: BatchSize | None = None
        self._check = check
        self._count = count

    def blocks(self, work: Work) -> list[Block]:
        """Return what a chunk yields; raises `AttnRulesError` where the device is lost."""
        if self._batch is None:
            self._batch = _batch_size(self._asked, self._capture, work)
        blocks: list[Block] = []
        start = 0
        while start < len(work.tokens):
            self._check()
            tokens = work.tokens[start : start + self._batch.size]
            started = time.perf_counter()
            try:
                blocks += self._capture.run(tokens, work.first_seq + start, work.targets, self._check)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    _refuse_lost_device(self._capture, error)
                    raise
                self._batch.failed(len(tokens))
                continue
            self._batch.succeeded(len(tokens), time.perf_counter() - started)
            start += len(tokens)
            self._count(len(tokens))
        return blocks


def record(warehouse: Warehouse, work: Work, run_id: int, counts: Mapping[str, int]) -> None:
    """Write the row of the ledger of a chunk; call it in the transaction that stores its rows.

    `counts`: rows of tables, those of facts among them.
    """
    attention, outputs = frozenset(work.targets.attention), frozenset(work.targets.outputs)
    entry: dict[str, object] = {table: counts.get(table, 0) for table in ("tokens", *FACT_TABLES)}
    entry |= {"run_id": run_id, "chunk_id": work.chunk_id}
    if work.stored is None:
        entry |= {
            "first_seq": work.first_seq,
            "n_seqs": len(work.tokens),
            "state": "done",
            "heads": _names(attention, outputs),
        }
        warehouse.append("chunks", pa.Table.from_pylist([entry]))
    else:
        heads = _names(attention | work.stored.attention, outputs | work.stored.outputs)
        warehouse.extend_chunk({**entry, "heads": heads})
    digests.restamp(warehouse, "chunks", chunk_id=work.chunk_id)


def add_files(warehouse: Warehouse, files: Sequence[dict[str, Any]]) -> None:
    """Store rows of files of the corpus, in the transaction of the sequences that were read from them."""
    if files:
        rows = pa.Table.from_pylist(list(files))
        warehouse.append("corpus_files", rows)
        warehouse.append("digests", digests.of_added("corpus_files", rows))


def _batch_size(asked: int | None, capture: Capture, work: Work) -> BatchSize:
    seq_len = work.tokens.shape[1]
    on_cpu = capture.model.device.type == "cpu"
    start, largest = (512, 8192) if on_cpu else (4096, 1 << 18)
    return BatchSize(asked, start=max(1, start // seq_len), limit=max(1, largest // seq_len))


def _refuse_lost_device(capture: Capture, error: RuntimeError) -> None:
    if capture.model.device.type != "cpu":
        raise AttnRulesError(
            f"device {capture.model.device}: failed ({one_line(error)}); what was committed is intact, run"
            " the same command again, with another --device if it stays lost"
        ) from error


def pack(captured: tuple[Work, list[Block]]) -> tuple[Work, dict[str, pa.Table]]:
    """Turn what a chunk yielded into one Arrow table for each table of the warehouse, with their digests."""
    work, blocks = captured
    tables = {} if work.stored is not None else {"tokens": _token_table(work)}
    parts = [block.part() for block in blocks]
    # Head after head: rows of one head lie together and are skipped together when not asked for.
    parts.sort(key=lambda part: (part.layer, -1 if part.head is None else part.head))
    for table in (*FACT_TABLES, CONTRIBUTIONS):
        rows = [pa.table(part.columns) for part in parts if part.table == table]
        if rows:
            tables[table] = pa.concat_tables(rows)
    place = (work.chunk_id, work.first_seq, len(work.tokens))
    facts = {table: rows for table, rows in tables.items() if table != CONTRIBUTIONS}
    stamps = [digests.of_facts(table, rows, *place) for table, rows in facts.items()]
    return work, {**tables, "digests": pa.concat_tables(stamps)}


def _stored_tokens(warehouse: Warehouse, chunk: Chunk) -> Tokens:
    columns = warehouse.columns(
        "SELECT token_id FROM tokens WHERE seq_id >= $first AND seq_id < $last ORDER BY seq_id, pos",
        {"first": chunk.first_seq, "last": chunk.first_seq + chunk.n_seqs},
    )
    return np.asarray(columns["token_id"], dtype=np.int64).reshape(chunk.n_seqs, -1)


def _token_table(work: Work) -> pa.Table:
    n_seqs, seq_len = work.tokens.shape
    seq, pos = np.divmod(np.arange(n_seqs * seq_len), seq_len)
    columns: dict[str, Any] = {
        "seq_id": (seq + work.first_seq).astype(np.int32),
        "pos": pos.astype(np.int32),
        "token_id": work.tokens.reshape(-1).astype(np.int32),
    }
    return pa.table(columns)
