"""The corpus: documents, and the rows of tokens cut from them (method.md section 4.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest.sources.hub import hub_failure, is_offline
from attnrules.ingest.sources.hub_corpus import HubDataset
from attnrules.ingest.sources.local_corpus import CorpusFile, digest, find_local, local_texts
from attnrules.warehouse.records import broken_text, kind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SPECIAL_TOKENS = ("token", "text")
# Documents tokenised together: enough for the tokenizer's own threads, few enough to stop soon.
_TOKENIZER_BATCH = 256
_BATCH_CHARACTERS = 4_000_000
# A tokenizer needs up to 80 bytes a character.
_LONGEST_TOKENISED = 8_000_000
# Of a document that is truncated, so much is tokenised: characters for each token of the context, at least.
_CHARACTERS_PER_TOKEN = 64
_LEAST_TOKENISED = 65_536
# Tokens between the context and where the text was cut off, which may differ from those of the whole text.
_MARGIN = 64


@dataclass(frozen=True)
class CorpusSpec:
    """Where documents come from and how they are cut.

    Arguments:
        source: local json, jsonl, parquet or text file, a folder of such files or of `save_to_disk`, or a
            hub dataset `name[:config][@revision]`.
        split: split of the dataset to read.
        text_column: column that holds a document's text.
        seq_len: tokens in a row, BOS included.
        keep_long_documents: cut documents beyond the context length into rows too.
        lines: whether each line of a text file is a document, instead of the whole file.
        special_tokens: whether text such as <|endoftext|> in a document is read as the special token or as
            text: token or text.
    """

    source: str
    split: str = "train"
    text_column: str = "text"
    seq_len: int = 64
    keep_long_documents: bool = False
    lines: bool = False
    special_tokens: str = "token"


def locate(spec: CorpusSpec, commit: str | None = None) -> str | None:
    """Make sure that a corpus exists, without reading it; return its commit, None for local files.

    `commit`, where it is known, is what the revision of a hub dataset stands for. Raises `AttnRulesError`
    when there is no such file or dataset, or its format is not known.
    """
    try:
        if find_local(spec.source, spec.split) is not None:
            return None
        return commit or HubDataset.parse(spec.source).resolve()
    except Exception as error:
        raise _unreadable(spec, error) from error


def documents(
    spec: CorpusSpec, commit: str | None = None, opened: Callable[[CorpusFile], None] = lambda _: None
) -> Iterator[str]:
    """Yield the texts of the corpus in their stored order; an empty or missing text is an empty string.

    `commit` is what `locate` has returned; `opened` is called with each file that is read. Raises
    `AttnRulesError` when the corpus cannot be read, lacks the text column, or a text is none.
    """
    # It logs whole tracebacks for a malformed file; the error below says it in one line.
    logging.getLogger("datasets").setLevel(logging.CRITICAL)
    at = ""
    try:
        for name, values in _files(spec, commit, opened):
            at = name
            for number, value in enumerate(values, 1):
                yield _text(spec, number, value)
    except Exception as error:
        raise _unreadable(spec, error, at) from error


def changed_file(spec: CorpusSpec, stored: Sequence[Mapping[str, Any]]) -> str | None:
    """Say how a local corpus no longer begins with the files that were read, None where it does.

    `stored` are the rows of `corpus_files` in the order of reading. A dataset of the hub is held to its
    commit instead. Raises `AttnRulesError` when the corpus cannot be read.
    """
    try:
        files = find_local(spec.source, spec.split)
        for index, row in enumerate(stored if files is not None else ()):
            name, n_bytes, sha256 = row["file"], row["n_bytes"], row["sha256"]
            found = files[index] if files and index < len(files) else None
            if found is None or found.name != name:
                instead = "nothing" if found is None else found.name
                return f"its file {name} was read, now there is {instead} in its place"
            if found.path.stat().st_size != n_bytes or digest(found.path) != (n_bytes, sha256):
                return f"its file {name} is no longer what was read ({n_bytes:,} bytes, sha256 {sha256[:12]})"
    except Exception as error:
        raise _unreadable(spec, error) from error
    return None


def shortage(spec: CorpusSpec, n_found: int, n_asked: int) -> str:
    """Say that the corpus has ended before it gave the sequences asked for."""
    said = f"corpus {spec.source}: yields {n_found} sequences, fewer than the {n_asked} asked for"
    local = find_local(spec.source, spec.split)
    if local is None and is_offline():
        return f"{said}: HF_HUB_OFFLINE=1 is set, so only what is in the local cache was read"
    if local and not spec.lines and all(file.format == "text" for file in local):
        return f"{said}: each text file is one document, --lines makes each line one"
    return said


def _files(
    spec: CorpusSpec, commit: str | None, opened: Callable[[CorpusFile], None]
) -> Iterator[tuple[str, Iterator[object]]]:
    if (files := find_local(spec.source, spec.split)) is not None:
        return local_texts(files, spec.text_column, by_line=spec.lines, opened=opened)
    dataset = HubDataset.parse(spec.source)
    return dataset.texts(
        commit or dataset.resolve(), spec.split, spec.text_column, by_line=spec.lines, opened=opened
    )


def _text(spec: CorpusSpec, number: int, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise AttnRulesError(
            f"column {spec.text_column!r} of record {number} holds {kind(value)}, not text; name another with"
            " --text-column"
        )
    if broken := broken_text(value):
        raise AttnRulesError(f"the text of record {number} {broken}")
    return value


def _unreadable(spec: CorpusSpec, error: Exception, file: str = "") -> AttnRulesError:
    where = f"{spec.source}: {file}" if file and file != Path(spec.source).name else spec.source
    if isinstance(error, AttnRulesError):
        return type(error)(f"corpus {where}: {error}")
    if said := hub_failure(error):
        return AttnRulesError(f"corpus {where}: {said}")
    return AttnRulesError(f"corpus {where}: cannot be read: {one_line(error)}")


def token_rows(
    texts: Iterable[str],
    tokenizer: Any,
    *,
    bos_token_id: int,
    n_ctx: int,
    spec: CorpusSpec,
    vocab_size: int | None = None,
) -> Iterator[npt.NDArray[np.int64]]:
    """Cut documents into rows [seq_len] of token ids, every row starting with BOS.

    A document is tokenised with BOS in front, truncated to the context length `n_ctx` (unless long
    documents are kept), cut to a multiple of seq_len and split; the first token of every row is then
    overwritten with BOS. Documents shorter than a row are skipped. Raises `AttnRulesError` when a document
    cannot be tokenised, or holds an id that is not below `vocab_size`.
    """
    import numpy as np

    limit = None if spec.keep_long_documents else n_ctx
    for batch in _batches(texts):
        for number, ids in _encoded(batch, tokenizer, limit, spec):
            tokens = np.asarray([bos_token_id, *ids], dtype=np.int64)[:limit]
            if vocab_size is not None and tokens.max() >= vocab_size:
                raise _no_embedding(spec, number, tokenizer, int(tokens.max()), vocab_size)
            n_rows = len(tokens) // spec.seq_len
            rows = tokens[: n_rows * spec.seq_len].reshape(n_rows, spec.seq_len)
            rows[:, 0] = bos_token_id
            yield from rows


Numbered = tuple[int, str]


def _batches(texts: Iterable[str]) -> Iterator[list[Numbered]]:
    """Yield the documents that hold something, several at a time, with their numbers from 1."""
    batch: list[Numbered] = []
    n_characters = 0
    for number, text in enumerate(texts, 1):
        if text:
            batch.append((number, text))
            n_characters += len(text)
        if len(batch) == _TOKENIZER_BATCH or n_characters > _BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


def _encoded(
    batch: list[Numbered], tokenizer: Any, limit: int | None, spec: CorpusSpec
) -> Iterator[tuple[int, list[int]]]:
    """Yield the ids of documents; of a truncated one at least the first `limit`."""

    def encode(texts: list[str]) -> list[list[int]]:
        return token_ids(texts, tokenizer, spec.special_tokens)

    whole = _LONGEST_TOKENISED if limit is None else max(_LEAST_TOKENISED, _CHARACTERS_PER_TOKEN * limit)
    short = [text for _, text in batch if len(text) <= whole]
    try:
        ids = iter(encode(short) if short else [])
        for number, text in batch:
            yield number, next(ids) if len(text) <= whole else _first_ids(text, limit, whole, encode)
    except AttnRulesError as error:
        raise AttnRulesError(f"corpus {spec.source}: document {number}: {error}") from error
    except Exception as error:
        raise AttnRulesError(
            f"corpus {spec.source}: documents from {batch[0][0]} on cannot be tokenised: {one_line(error)}"
        ) from error


def token_ids(texts: list[str], tokenizer: Any, special_tokens: str) -> list[list[int]]:
    """Return the ids of texts, without BOS; `special_tokens` as in `CorpusSpec`."""
    encoded: list[list[int]] = tokenizer(
        texts,
        add_special_tokens=False,
        return_attention_mask=False,
        verbose=False,
        split_special_tokens=special_tokens == "text",
    )["input_ids"]
    return encoded


def _first_ids(
    text: str, limit: int | None, size: int, encode: Callable[[list[str]], list[list[int]]]
) -> list[int]:
    """Return at least the first `limit` ids of a long text, without tokenising the whole."""
    while limit is not None and size <= _LONGEST_TOKENISED:
        (ids,) = encode([text[:size]])
        if size >= len(text) or len(ids) >= limit + _MARGIN:
            return ids
        size *= 4
    asked = "--keep-long-documents takes" if limit is None else "its first tokens are found in"
    raise AttnRulesError(
        f"is of {len(text):,} characters, {asked} up to {_LONGEST_TOKENISED:,}; split it, or leave it out"
    )


def _no_embedding(
    spec: CorpusSpec, number: int, tokenizer: Any, token_id: int, vocab_size: int
) -> AttnRulesError:
    token = tokenizer.convert_ids_to_tokens(token_id)
    added = getattr(tokenizer, "added_tokens_decoder", {}).get(token_id)
    remedy = "--special-tokens text reads it as text" if getattr(added, "special", False) else "leave it out"
    return AttnRulesError(
        f"corpus {spec.source}: document {number} holds {token!r} (id {token_id}), for which the model has no"
        f" embedding (it has {vocab_size:,}); {remedy}, or use the tokenizer of the model"
    )
