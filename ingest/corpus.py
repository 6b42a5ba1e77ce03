"""The corpus: documents, and the rows of tokens cut from them (method.md section 4.1)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.errors import AttnRulesError
from attnrules.ingest.hub import hub_failure, is_offline
from attnrules.ingest.hub_corpus import HubDataset
from attnrules.ingest.model import one_line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BUILDERS = {
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
    ".gz": "json",
    ".zst": "json",
}
# Rows tokenised together: large enough for the tokenizer's own threads, small enough to stop soon.
_TOKENIZER_BATCH = 256


@dataclass(frozen=True)
class CorpusSpec:
    """Where documents come from and how they are cut.

    Arguments:
        source: local json, jsonl, parquet or text file, a folder of such files, or a hub dataset
            `name[:config][@revision]`.
        split: split of the dataset to stream.
        text_column: column that holds a document's text.
        seq_len: tokens in a row, BOS included.
        keep_long_documents: cut documents beyond the context length into rows too.
    """

    source: str
    split: str = "train"
    text_column: str = "text"
    seq_len: int = 64
    keep_long_documents: bool = False


def locate(spec: CorpusSpec, commit: str | None = None) -> str | None:
    """Make sure that a corpus exists, without reading it; return its commit, None for local files.

    `commit`, where it is known, is what the revision of a hub dataset stands for. Raises `AttnRulesError`
    when there is no such file or dataset, or its format is not known.
    """
    if (files := _local_files(spec)) is not None:
        _builder(files[0])
        return None
    try:
        return commit or HubDataset.parse(spec.source).resolve()
    except Exception as error:
        raise _unreadable(spec, error) from error


def documents(spec: CorpusSpec, commit: str | None = None) -> Iterator[str]:
    """Stream the texts of the corpus in their stored order; an empty or missing text is an empty string.

    `commit` is what `locate` has returned. Raises `AttnRulesError` when the corpus cannot be read or lacks
    the text column.
    """
    # It logs whole tracebacks for a malformed file; the error below says it in one line.
    logging.getLogger("datasets").setLevel(logging.CRITICAL)
    try:
        for document in _records(spec, commit):
            if spec.text_column not in document:
                raise AttnRulesError(
                    f"has no column {spec.text_column!r}, only"
                    f" {', '.join(sorted(document))}; name one with --text-column"
                )
            text = document[spec.text_column]
            if text is not None and not isinstance(text, str):
                raise AttnRulesError(
                    f"column {spec.text_column!r} holds {type(text).__name__}, not text; name another"
                    " with --text-column"
                )
            yield text or ""
    except Exception as error:
        raise _unreadable(spec, error) from error


def shortage(spec: CorpusSpec, n_found: int, n_asked: int) -> str:
    """Say that the corpus has ended before it gave the sequences asked for."""
    said = f"corpus {spec.source}: yields {n_found} sequences, fewer than the {n_asked} asked for"
    if _local_files(spec) is None and is_offline():
        return f"{said}: HF_HUB_OFFLINE=1 is set, so only what is in the local cache was read"
    return said


def _records(spec: CorpusSpec, commit: str | None) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    if (files := _local_files(spec)) is not None:
        data_files = {spec.split: [str(file) for file in files]}
        return iter(load_dataset(_builder(files[0]), data_files=data_files, split=spec.split, streaming=True))
    dataset = HubDataset.parse(spec.source)
    return dataset.records(commit or dataset.resolve(), spec.split, _BUILDERS)


def _unreadable(spec: CorpusSpec, error: Exception) -> AttnRulesError:
    if isinstance(error, AttnRulesError):
        return AttnRulesError(f"corpus {spec.source}: {error}")
    if not Path(spec.source).exists() and (said := hub_failure(error)):
        return AttnRulesError(f"corpus {spec.source}: {said}")
    return AttnRulesError(f"corpus {spec.source}: cannot be read: {one_line(error)}")


def token_rows(
    texts: Iterable[str], tokenizer: Any, *, bos_token_id: int, n_ctx: int, spec: CorpusSpec
) -> Iterator[npt.NDArray[np.int64]]:
    """Cut documents into rows [seq_len] of token ids, every row starting with BOS.

    A document is tokenised with BOS in front, truncated to the context length `n_ctx` (unless long
    documents are kept), cut to a multiple of seq_len and split; the first token of every row is then
    overwritten with BOS. Documents shorter than a row are skipped.
    """
    import numpy as np

    iterator = iter(texts)
    while batch := list(islice(iterator, _TOKENIZER_BATCH)):
        encoded = tokenizer(batch, add_special_tokens=False, return_attention_mask=False, verbose=False)[
            "input_ids"
        ]
        for text, ids in zip(batch, encoded, strict=True):
            if not text:
                continue
            tokens = np.asarray([bos_token_id, *ids], dtype=np.int64)
            if not spec.keep_long_documents:
                tokens = tokens[:n_ctx]
            n_rows = len(tokens) // spec.seq_len
            rows = tokens[: n_rows * spec.seq_len].reshape(n_rows, spec.seq_len)
            rows[:, 0] = bos_token_id
            yield from rows


def _local_files(spec: CorpusSpec) -> list[Path] | None:
    """Return the files of a local corpus, None for a hub dataset."""
    path = Path(spec.source)
    if path.exists():
        return _data_files(path)
    if path.suffix in _BUILDERS or spec.source.startswith((".", "/", "~")):
        raise AttnRulesError(f"corpus {spec.source}: no such file")
    return None


def _data_files(path: Path) -> list[Path]:
    if path.is_file():
        _builder(path)
        return [path]
    found = sorted(f for f in path.rglob("*") if f.is_file() and f.suffix in _BUILDERS)
    if not found:
        raise AttnRulesError(f"corpus {path}: no json, jsonl, parquet or text file in this folder")
    if len({_builder(f) for f in found}) > 1:
        raise AttnRulesError(
            f"corpus {path}: holds files of several formats; name one file, or a folder of one format"
        )
    return found


def _builder(path: Path) -> str:
    builder = _BUILDERS.get(path.suffix)
    if builder is None:
        raise AttnRulesError(
            f"corpus {path}: format {path.suffix or 'without extension'} is not known; use .json,"
            " .jsonl, .parquet or .txt"
        )
    return builder
