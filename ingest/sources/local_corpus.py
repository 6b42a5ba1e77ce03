"""A corpus on this machine: which files it is, of which split, and the texts in them.

Paths are taken as they are written, whatever characters they hold. The split of a file is the one that its
name or its folder says, as on the hub; files of a folder where none says so are the split train.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from attnrules.errors import AttnRulesError, UsageError, one_line
from attnrules.warehouse.connection import NO_DOWNLOADS
from attnrules.warehouse.records import (
    LARGEST_EXPANSION,
    LARGEST_RECORD,
    json_records,
    require_file,
    text_documents,
)

_FORMATS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
}
_COMPRESSED = (".gz", ".zst")
_DEFAULT_SPLIT = "train"
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "dev": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_MOST_FILES = 100_000
_LARGEST_CARD = 1 << 20
# Rows of parquet decoded together; each may be as long as a record.
_PARQUET_ROWS = 64


@dataclass(frozen=True)
class CorpusFile:
    """A file of a corpus: its name inside the folder or repository, where it lies, its format."""

    name: str
    path: Path
    format: str


@dataclass
class FilesRead:
    """The files that were opened, in this order, with what tells them from others; fill it with `add`.

    Each is a row of `corpus_files`: file_id, file, n_bytes, sha256. It begins with those that are stored.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names = {row["file"] for row in self.rows}

    def add(self, file: CorpusFile) -> None:
        """Record a file, unless it is already."""
        if file.name not in self._names:
            n_bytes, sha256 = digest(file.path)
            self._names.add(file.name)
            self.rows.append(
                {"file_id": len(self.rows), "file": file.name, "n_bytes": n_bytes, "sha256": sha256}
            )


def digest(path: Path) -> tuple[int, str]:
    """Return the size of a file in bytes, and its sha256."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def format_of(name: str) -> str | None:
    """Return the format of a file by its name: json, parquet or text; None for any other."""
    path = Path(name.lower())
    suffix = path.suffix
    if suffix not in _COMPRESSED:
        return _FORMATS.get(suffix)
    inner = Path(path.stem).suffix
    if inner.removeprefix(".").isdigit() or not inner:
        return "json"
    return None if _FORMATS.get(inner) == "parquet" else _FORMATS.get(inner)


def find_local(source: str, split: str) -> list[CorpusFile] | None:
    """Return the files of `split` of a local corpus in the order of reading, None for a hub dataset.

    Raises `AttnRulesError` when there is no such file, its format is not known, or it has no such split.
    """
    if not source:
        raise UsageError("--corpus '': name a file, a folder or a dataset of the hub")
    path = Path(source)
    try:
        if path.is_dir():
            return _saved(path, split) if _is_saved(path) else _in_folder(path, split)
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise AttnRulesError(f"cannot be read: {error}") from error
    if exists:
        require_file(path)
        return [_the_file(path, split)]
    if format_of(source) or source.startswith((".", "/", "~")):
        raise AttnRulesError("no such file")
    return None


def local_texts(
    files: Iterable[CorpusFile], column: str, *, by_line: bool, opened: Callable[[CorpusFile], None]
) -> Iterator[tuple[str, Iterator[object]]]:
    """Yield each file's name with what its records hold as text, in their stored order.

    `opened` is called as by `read_column`.
    """
    for file in files:
        yield file.name, read_column(file, column, by_line=by_line, opened=opened)


def read_column(
    file: CorpusFile, column: str, *, by_line: bool, opened: Callable[[CorpusFile], None]
) -> Iterator[object]:
    """Yield what `column` holds in each record of a file; the documents themselves of a text file.

    `opened` is called with the file once its first record could be read: a file that gave nothing may be
    mended, and what is stored still stands.
    """
    values = _column(file, column, by_line=by_line)
    first = list(islice(values, 1))
    opened(file)
    yield from chain(first, values)


def _column(file: CorpusFile, column: str, *, by_line: bool) -> Iterator[object]:
    require_file(file.path)
    if file.format == "text":
        return text_documents(file.path, by_line=by_line)
    if file.format == "arrow":
        return _arrow_column(file.path, column)
    if file.format == "parquet":
        return _parquet_column(file.path, column)
    return json_column(json_records(file.path), column)


def json_column(records: Iterable[dict[str, Any]], column: str) -> Iterator[object]:
    """Yield a column of records; one that lacks it holds nothing, unless it is the first."""
    for index, record in enumerate(records):
        if index == 0 and column not in record:
            raise _no_column(column, record)
        yield record.get(column)


def _no_column(column: str, there: Iterable[str]) -> AttnRulesError:
    return AttnRulesError(
        f"has no column {column!r}, only {_one_line(sorted(there))}; name one with --text-column"
    )


def _one_line(names: Iterable[str]) -> str:
    """Return names of a file's own, which may hold line breaks, as a message of one line lists them."""
    return ", ".join(name if name.isprintable() else repr(name) for name in names) or "none"


# --- which files -----------------------------------------------------------------------------------


def _the_file(path: Path, split: str) -> CorpusFile:
    """Return a corpus that is one file; a split other than train must be the one that its name says."""
    form = format_of(path.name)
    if form is None:
        raise AttnRulesError(
            f"format {path.suffix or 'without extension'} is not known; use .json, .jsonl, .parquet or"
            " .txt, or the first and last gzipped"
        )
    held = _split_of(path.name) or _DEFAULT_SPLIT
    if split not in (held, _DEFAULT_SPLIT):
        raise AttnRulesError(f"is the split {held} by its name, not {split}; leave --split out to read it")
    return CorpusFile(_spelled(path.name), path, form)


def _in_folder(folder: Path, split: str) -> list[CorpusFile]:
    by_split = _declared_splits(folder) or _named_splits(folder)
    if not by_split:
        raise AttnRulesError("no json, jsonl, parquet or text file in this folder")
    if split not in by_split:
        raise AttnRulesError(f"has no split {split!r}, only {_one_line(sorted(by_split))}")
    found = [
        CorpusFile(_spelled(str(path)), folder / path, form)
        for path in sorted(by_split[split])
        if (form := format_of(path.name))
    ]
    if len({file.format for file in found}) > 1:
        raise AttnRulesError("holds files of several formats; name one file, or a folder of one format")
    return found


def _named_splits(folder: Path) -> dict[str, list[Path]]:
    """Return the files of a folder by the split that their names or folders say."""
    by_split: dict[str | None, list[Path]] = {}
    for path in _data_files(folder):
        by_split.setdefault(_split_of(str(path)), []).append(path)
    unnamed = by_split.pop(None, [])
    named = {split: paths for split, paths in by_split.items() if split is not None}
    return named or ({_DEFAULT_SPLIT: unnamed} if unnamed else {})


def _data_files(folder: Path) -> list[Path]:
    """Return the data files below a folder, relative to it; hidden ones are none of the corpus."""
    found: list[Path] = []
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        here = [Path(at) / name for name in names if format_of(name) and not name.startswith((".", "__"))]
        found += [path.relative_to(folder) for path in here if path.is_file()]
        if len(found) > _MOST_FILES:
            raise AttnRulesError(f"holds more than {_MOST_FILES:,} files; name a smaller folder")
    return found


def _split_of(name: str) -> str | None:
    """Return the split that a relative path says, by `data/NAME-00000-of-00005` or a word; its file first."""
    if sharded := re.search(r"(?:^|/)data/(\w+)-\d{5}-of-\d{5}", name):
        return _SPLIT_WORDS.get(sharded[1], sharded[1])
    for part in reversed(name.split("/")):
        for word in re.split(r"[-._ 0-9]+", part):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    return None


def _declared_splits(folder: Path) -> dict[str, list[Path]] | None:
    """Return the files by split as the folder's dataset card lists them, None where it does not."""
    card = folder / "README.md"
    if not card.is_file() or card.stat().st_size > _LARGEST_CARD:
        return None
    try:
        patterns = _card_patterns(card)
    except AttnRulesError:
        raise
    except Exception as error:
        raise AttnRulesError(f"its README.md cannot be read: {one_line(error)}") from error
    found = {split: _matching(folder, asked) for split, asked in patterns.items()}
    return {split: paths for split, paths in found.items() if paths} or None


def _card_patterns(card: Path) -> dict[str, list[str]]:
    """Return the patterns of the card's default configuration by split, none where it lists no files."""
    from datasets.data_files import sanitize_patterns
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(card).data)
    if not any(config.keys() & {"data_files", "data_dir"} for config in configs.values()):
        return {}
    name = configs.get_default_config_name()
    if name is None or "data_files" not in configs[name]:
        raise AttnRulesError(
            f"its README.md lists the configurations {', '.join(configs)}; name the folder of one, or a file"
        )
    return {
        str(split): list(asked) for split, asked in sanitize_patterns(configs[name]["data_files"]).items()
    }


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    # Relative to the folder, whose own name is no pattern.
    matches = {path for pattern in patterns for path in folder.glob(pattern)}
    inside = [path.relative_to(folder) for path in matches if path.is_file()]
    return [path for path in inside if ".." not in path.parts]


def _spelled(name: str) -> str:
    """Return a file name as text; bytes of it that are not UTF-8 are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


# --- Dataset.save_to_disk --------------------------------------------------------------------------


def _is_saved(folder: Path) -> bool:
    one = all((folder / name).is_file() for name in ("state.json", "dataset_info.json"))
    return one or (folder / "dataset_dict.json").is_file()


def _saved(folder: Path, split: str) -> list[CorpusFile]:
    """Return the arrow files of a split of what `save_to_disk` of datasets has written."""
    if (folder / "dataset_dict.json").is_file():
        splits = next(json_records(folder / "dataset_dict.json"), {}).get("splits")
        known = list(map(str, splits)) if isinstance(splits, list) else []
        if split not in known:
            raise AttnRulesError(f"has no split {split!r}, only {_one_line(known)}")
        prefix = f"{split}/"
    else:
        prefix = ""
    state = next(json_records(folder / prefix / "state.json"), {})
    held = str(state.get("_split") or split).split("[")[0]
    if held != split:
        raise AttnRulesError(f"has no split {split!r}, only {_one_line([held])}")
    if state.get("_indices_data_files"):
        raise AttnRulesError("was saved with a selection of its rows; save it again after flatten_indices()")
    listed = state.get("_data_files")
    found = (
        [file.get("filename") for file in listed if isinstance(file, dict)]
        if isinstance(listed, list)
        else []
    )
    names = [name for name in found if isinstance(name, str) and Path(name).name == name]
    if not names or len(names) < len(found):
        raise AttnRulesError(f"its {prefix}state.json lists no arrow files")
    return [CorpusFile(_spelled(prefix + name), folder / prefix / name, "arrow") for name in names]


def _arrow_column(path: Path, column: str) -> Iterator[object]:
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as reader:
        _require_text(reader.schema, column)
        for batch in reader:
            yield from map(_value, batch.column(column))


# --- parquet ---------------------------------------------------------------------------------------


def _parquet_column(path: Path, column: str) -> Iterator[object]:
    # As a dictionary: a text that is stored once is then not unpacked as often as it is used.
    _require_text(pq.read_schema(path), column)
    _refuse_expansion(path, column)
    with pq.ParquetFile(path, read_dictionary=[column]) as file:
        for batch in file.iter_batches(_PARQUET_ROWS, columns=[column]):
            yield from map(_value, batch.column(0))


def _require_text(schema: pa.Schema, column: str) -> None:
    if column not in schema.names:
        raise _no_column(column, schema.names)
    found = schema.field(column).type
    inner = found.value_type if pa.types.is_dictionary(found) else found
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(test(inner) for test in tests):
        raise AttnRulesError(f"column {column!r} holds {inner}, not text; name another with --text-column")


def _refuse_expansion(path: Path, column: str) -> None:
    # Not by pyarrow, which ends the process where the metadata of a column are damaged. The connection is a
    # fresh one, since some damage makes DuckDB refuse everything that follows.
    with duckdb.connect(config=NO_DOWNLOADS) as connection:
        expands = connection.execute(
            "SELECT bool_or(total_uncompressed_size > greatest($least, $times * total_compressed_size))"
            " FROM parquet_metadata($file) WHERE path_in_schema = $column",
            {
                "least": LARGEST_RECORD,
                "times": LARGEST_EXPANSION,
                "file": _no_pattern(path),
                "column": column,
            },
        ).fetchall()
    if expands[0][0]:
        raise AttnRulesError(
            f"column {column!r} expands to more than {LARGEST_EXPANSION} times its size; write it anew with"
            " less compression if that is right"
        )


def _no_pattern(path: Path) -> str:
    """Return a path as DuckDB takes it, which reads patterns and the names of remote places from others."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path.absolute()))


def _value(scalar: Any) -> str | None:
    """Return the text of an Arrow scalar; bytes that are not UTF-8 become lone surrogates."""
    inner = scalar.value if isinstance(scalar, pa.DictionaryScalar) else scalar
    if inner is None or not inner.is_valid or isinstance(inner, pa.NullScalar):
        return None
    buffer = inner.as_buffer()
    if buffer.size > 4 * LARGEST_RECORD:
        raise AttnRulesError(f"a record is longer than {LARGEST_RECORD:,} characters")
    text: str = buffer.to_pybytes().decode("utf-8", "surrogateescape")
    return text
