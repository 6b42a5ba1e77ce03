"""The corpus of an ingest, begun to be read: what is stored already is passed, or the corpus is another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import pyarrow as pa

from attnrules.errors import AttnRulesError
from attnrules.ingest import held
from attnrules.ingest.capture.flow import Ledger, Tokens, refuse_other_rows
from attnrules.ingest.loading import Loaded
from attnrules.ingest.request import IngestSpec
from attnrules.ingest.sources.local_corpus import FilesRead
from attnrules.warehouse import Warehouse, digests


@dataclass(frozen=True)
class Corpus:
    """A corpus that was begun to be read.

    Arguments:
        sample: its first rows [n, seq_len] of token ids.
        rows: all rows [seq_len] that follow the stored ones, which it has yielded again.
        files: the files that were opened, as far as they are recorded.
        changed: how they differ from those that were read, in words; None where they do not.
    """

    sample: Tokens
    rows: Iterator[Tokens]
    files: FilesRead
    changed: str | None


def begin(loaded: Loaded, stored: Warehouse | None, n_sampled: int, *, recorded: bool = True) -> Corpus:
    """Read the first rows of the corpus, and those that `stored` holds where more are to follow.

    Files are digested only if they are `recorded`. Raises `AttnRulesError` when the corpus cannot be read,
    yields no row, or no longer begins with the stored sequences.
    """
    request = loaded.request
    changed = None if stored is None else held.changed_file(stored, request.spec)
    # What is stored was compared just now, or a commit holds it: it need not be digested again.
    files = FilesRead([] if stored is None or changed else held.stored_files(stored))
    rows = loaded.rows(files if recorded else None)
    sample = list(islice(rows, n_sampled))
    rows = chain(sample, rows)
    # Where no sequence is to follow, and no file has changed, the stored ones need not be read again.
    if stored is not None and (changed or request.spec.n_sequences > Ledger(stored).n_sequences):
        refuse_other_rows(stored, rows, changed)
    if not sample:
        raise _no_row(request.spec)
    return Corpus(np.stack(sample), rows, files, changed)


def _no_row(spec: IngestSpec) -> AttnRulesError:
    return AttnRulesError(
        f"corpus {spec.corpus.source}: no document is as long as a row of {spec.corpus.seq_len} tokens; name"
        " a longer corpus or a smaller --seq-len"
    )


def store_changed_files(warehouse: Warehouse, spec: IngestSpec, corpus: Corpus) -> list[str]:
    """Record changed files, which have yielded the stored sequences again, and say so."""
    if not corpus.changed:
        return []
    with warehouse.transaction():
        warehouse.execute("DELETE FROM corpus_files")
        warehouse.append("corpus_files", pa.Table.from_pylist(corpus.files.rows))
        digests.restamp(warehouse, "corpus_files")
    return [f"corpus {spec.corpus.source}: {corpus.changed}; it yields the sequences stored here again"]
