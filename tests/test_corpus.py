"""The corpus: which files are read, what is a document, and what hostile files come to."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.sources.corpus import CorpusSpec, documents, locate, token_rows
from attnrules.warehouse import Warehouse, check, digests
from attnrules.warehouse.records import LARGEST_RECORD
from tests.planted import PlantedModel, reference_rows

TEXTS = ["Montreal speaks", "", "Ünïcode — 😀", "several\nlines\tand\u2028separators", "   "]


def read(path: Path, **options: Any) -> list[str]:
    spec = CorpusSpec(str(path), **options)
    locate(spec)
    return list(documents(spec))


def refusal(path: Path, **options: Any) -> str:
    """Return the one line that a corpus is refused with."""
    with pytest.raises(AttnRulesError) as refused:
        read(path, **options)
    said = str(refused.value)
    assert "\n" not in said
    return said


def lines(texts: Iterable[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


# --- a path is a path ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "docs[1].jsonl",
        "[v1] runs/docs.jsonl",
        "all*/a.jsonl",
        "what?.jsonl",
        "a::b/docs.jsonl",
        "{x}/it's.jsonl",
    ],
)
def test_a_path_is_no_pattern(tmp_path: Path, name: str) -> None:
    for other in ("docs1.jsonl", "v runs/docs.jsonl", "alls/a.jsonl", "whats.jsonl", "x/it's.jsonl"):
        path = tmp_path / other
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(lines(["another file"]))
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(lines(TEXTS))
    assert read(path) == TEXTS
    if path.parent != tmp_path:
        assert read(path.parent) == TEXTS


# --- a split is a split ----------------------------------------------------------------------------

LAYOUTS = {
    "shards": [
        "data/train-00000-of-00001.jsonl",
        "data/test-00000-of-00001.jsonl",
        "data/gold-00000-of-00001.jsonl",
    ],
    "names": ["train.jsonl", "my_test_1.jsonl", "dev.jsonl"],
    "folders": ["training/1.jsonl", "eval/1.jsonl", "valid/1.jsonl"],
    "files before folders": ["test/train.jsonl", "train/test.jsonl", "train/val.jsonl"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_the_split_asked_for_is_read(tmp_path: Path, layout: str) -> None:
    for name in LAYOUTS[layout]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(lines([name]))
    third = "gold" if layout == "shards" else "validation"
    for split, name in zip(("train", "test", third), LAYOUTS[layout], strict=True):
        assert read(tmp_path, split=split) == [name]
    assert f"has no split 'other', only {', '.join(sorted(['train', 'test', third]))}" in refusal(
        tmp_path, split="other"
    )


def test_files_without_a_split_are_train_and_hidden_ones_are_none(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "contest.jsonl", ".cache/c.jsonl", "._d.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(lines([name]))
    assert read(tmp_path) == ["a.jsonl", "b.jsonl", "contest.jsonl"]
    assert "has no split 'test', only train" in refusal(tmp_path, split="test")


def test_one_file_is_the_split_that_its_name_says(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_bytes(lines(TEXTS))
    assert read(path) == read(path, split="test") == TEXTS
    assert "is the split test by its name, not validation" in refusal(path, split="validation")


def test_the_card_of_a_dataset_says_which_files_a_split_is(tmp_path: Path) -> None:
    for name in ("x/one.jsonl", "x/two.jsonl", "y/one.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lines([name]))
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: x/*.jsonl\n"
    (tmp_path / "README.md").write_text(f"{card}  - split: test\n    path: y/one.jsonl\n---\n")
    assert read(tmp_path) == ["x/one.jsonl", "x/two.jsonl"]
    assert read(tmp_path, split="test") == ["y/one.jsonl"]
    second = "- config_name: other\n  data_files: y/*.jsonl\n"
    (tmp_path / "README.md").write_text(card.replace("default", "first") + second + "---\n")
    assert "lists the configurations first, other" in refusal(tmp_path)


def test_what_save_to_disk_writes_is_read_by_split(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict, NamedSplit, disable_progress_bars

    disable_progress_bars()
    whole = Dataset.from_dict({"text": TEXTS, "n": range(len(TEXTS))})
    whole.save_to_disk(str(tmp_path / "one"))
    assert read(tmp_path / "one") == TEXTS
    named = Dataset.from_dict({"text": TEXTS}, split=NamedSplit("test"))
    named.save_to_disk(str(tmp_path / "named"))
    assert "has no split 'train', only test" in refusal(tmp_path / "named")
    both = DatasetDict({"train": whole.select([2, 0]), "test": named})
    both.save_to_disk(str(tmp_path / "both"))
    assert read(tmp_path / "both") == [TEXTS[2], TEXTS[0]]
    assert read(tmp_path / "both", split="test") == TEXTS
    assert "has no split 'dev', only train, test" in refusal(tmp_path / "both", split="dev")


# --- what is a document ----------------------------------------------------------------------------


def write_array(path: Path) -> None:
    path.write_text(json.dumps([{"text": text} for text in TEXTS], indent=2))


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": TEXTS, "n": range(len(TEXTS))}), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_bytes(lines(TEXTS)),
    "A.JSONL": lambda path: path.write_bytes(lines(TEXTS)),
    "crlf.jsonl": lambda path: path.write_bytes(lines(TEXTS).replace(b"\n", b"\r\n")),
    "bom.json": lambda path: path.write_bytes(b"\xef\xbb\xbf" + lines(TEXTS)),
    "blank.ndjson": lambda path: path.write_bytes(b"\n\n" + lines(TEXTS).replace(b"\n", b"\n\n")),
    "array.json": write_array,
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines(TEXTS))),
    "members.json.gz": lambda path: path.write_bytes(b"".join(gzip.compress(lines([t])) for t in TEXTS)),
    "a.jsonl.zst": lambda path: path.write_bytes(pa.Codec("zstd").compress(lines(TEXTS), asbytes=True)),
    "a.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_of_a_file_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert read(tmp_path / name) == TEXTS


@pytest.mark.parametrize("name", ["a.txt", "B.TXT", "a.txt.gz"])
def test_a_text_file_is_a_document_unless_lines_are_asked_for(tmp_path: Path, name: str) -> None:
    content = "one\u2028two\r\n\r\nthree\x0bfour\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert read(tmp_path / name) == ["one\u2028two\n\nthree\x0bfour\n"]
    assert read(tmp_path / name, lines=True) == ["one\u2028two", "", "three\x0bfour"]


def test_columns_beside_the_text_may_change_and_a_text_may_be_missing(tmp_path: Path) -> None:
    records = [
        {"text": "a", "n": 1},
        {"text": "b", "n": "x", "m": [{}]},
        {"n": None},
        {"text": None},
        {"text": "c"},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert read(path) == ["a", "b", "", "", "c"]


def test_long_records_are_read_across_every_boundary(tmp_path: Path) -> None:
    texts = ['é\\"😀' * n for n in (1, 40_000, 7, 300_000, 2)]
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(texts))
    assert read(path) == texts
    path.write_text(json.dumps([{"text": text} for text in texts]))
    assert read(path) == texts


# --- what is refused -------------------------------------------------------------------------------

NESTED = b'{"text": "a", "meta": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}\n"
REFUSED: dict[str, tuple[bytes, str]] = {
    "nested.jsonl": (lines(["a"]) + NESTED, "record 2 is nested too deeply"),
    "open.json": (b"[" * 500_000, "record 1 is nested too deeply"),
    "cut.json": (b'[{"text": "a"}', "array is not closed"),
    "cut.jsonl": (lines(["a", "b"])[:-4], "record 2 is not JSON: Unterminated string"),
    "after.json": (b'[{"text": "a"}] {"text": "b"}', "goes on after its array of 1 records"),
    "number.jsonl": (b'{"text": "a"}\n{"text": 5}\n', "column 'text' of record 2 holds a number, not text"),
    "true.jsonl": (b'{"text": true}', "holds a truth value, not text"),
    "list.jsonl": (b'{"text": "a"}\n["b"]\n', "record 2 is a list, not an object"),
    "digits.jsonl": (
        b'{"text": "a", "n": ' + b"1" * 5000 + b"}",
        "record 1 holds a number of too many digits",
    ),
    "latin.jsonl": ('{"text": "café"}'.encode("latin-1"), "text of record 1 is not UTF-8 (byte 0xe9 after 3"),
    "latin.txt": ("café".encode("latin-1"), "text of record 1 is not UTF-8 (byte 0xe9 after 3"),
    "half.jsonl": (b'{"text": "half \\ud83d"}', "holds \\ud83d after 5 characters, half of a character"),
    "other.jsonl": (b'{"body": "a"}', "has no column 'text', only body; name one with --text-column"),
    "broken.jsonl.gz": (gzip.compress(lines(["a" * 9999]))[:40], "cannot be read"),
    "empty.parquet": (b"", "cannot be read"),
    "bomb.jsonl.gz": (gzip.compress(b"\n" * (70 << 20)), "expands to more than 200 times its size"),
    "table.csv": (b"text\na\n", "format .csv is not known"),
    "packed.parquet.gz": (b"", "format .gz is not known"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_right_is_refused_in_words(tmp_path: Path, name: str) -> None:
    content, words = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    assert words in refusal(tmp_path / name)


def test_a_record_has_a_largest_size(tmp_path: Path) -> None:
    bomb = gzip.compress(
        b'{"text": "' + os.urandom(400_000).hex().encode() + b"a" * (LARGEST_RECORD + 1) + b'"}'
    )
    (tmp_path / "a.jsonl.gz").write_bytes(bomb)
    assert f"record 1 is longer than {LARGEST_RECORD:,} characters" in refusal(tmp_path / "a.jsonl.gz")
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(LARGEST_RECORD + 1)
    assert "read each line as a document with --lines" in refusal(tmp_path / "a.txt")


def test_a_parquet_text_is_not_unpacked_as_often_as_it_is_used(tmp_path: Path) -> None:
    texts = pa.array(["a" * 1_000_000] * 200).dictionary_encode()
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    counted, usual = pa.proxy_memory_pool(pa.system_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(counted)
    try:
        assert sum(1 for _ in documents(CorpusSpec(str(tmp_path / "a.parquet")))) == 200
    finally:
        pa.set_memory_pool(usual)
    assert 0 < counted.max_memory() < 20_000_000


def test_a_parquet_page_that_expands_without_end_is_refused(tmp_path: Path) -> None:
    table = pa.table({"text": ["a" * 70_000_000]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    assert "expands to more than 200 times its size" in refusal(tmp_path / "a.parquet")
    shutil.copy(tmp_path / "a.parquet", tmp_path / "b[1].parquet")
    write_parquet(tmp_path / "b1.parquet")
    assert "expands to more than 200 times its size" in refusal(tmp_path / "b[1].parquet")


def test_a_parquet_column_that_is_no_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [[1]], "b": [b"a"]}), tmp_path / "a.parquet")
    assert "column 'text' holds list" in refusal(tmp_path / "a.parquet")
    assert "column 'b' holds binary, not text" in refusal(tmp_path / "a.parquet", text_column="b")
    assert "has no column 'c', only b, text" in refusal(tmp_path / "a.parquet", text_column="c")


@pytest.mark.parametrize("name", ["pipe.jsonl", "pipe"])
def test_a_pipe_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "is a pipe or a device" in refusal(tmp_path / name)
    assert "no json, jsonl, parquet or text file in this folder" in refusal(tmp_path)


@pytest.mark.parametrize("source", ["", "/dev/zero", "./none.jsonl", "x" * 300 + ".jsonl", "/" + "y/" * 5000])
def test_an_odd_path_is_refused(source: str) -> None:
    with pytest.raises(AttnRulesError, match="corpus"):
        locate(CorpusSpec(source))


# --- from documents to rows ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        Path(__file__).parents[1] / "attnrules/demo/weights/attnrules-demo", local_files_only=True
    )


def rows_of(texts: list[str], tokenizer: Any, **options: Any) -> list[list[int]]:
    spec = CorpusSpec("here.jsonl", seq_len=8, **options)
    rows = token_rows(texts, tokenizer, bos_token_id=0, n_ctx=256, spec=spec, vocab_size=tokenizer.vocab_size)
    return [row.tolist() for row in rows]


def test_special_tokens_in_documents_are_tokens_or_text(tokenizer: Any) -> None:
    text = "before<|endoftext|>after and more words of the document"
    as_token, as_text = (
        [token for row in rows_of([text], tokenizer, special_tokens=way) for token in row[1:]]
        for way in ("token", "text")
    )
    assert as_token.count(0) == 1
    assert as_text.count(0) == 0
    assert tokenizer.decode(as_text).startswith("before<|endoftext|>"[:16])


def test_a_long_document_begins_as_if_it_were_tokenised_whole(tokenizer: Any) -> None:
    for word in ("word ", "é", "x" * 70_000 + " ", "\n"):
        text = word * (300_000 // len(word))
        whole = [0, *tokenizer(text, add_special_tokens=False)["input_ids"]][:256]
        found = rows_of([text], tokenizer)
        assert [row[1:] for row in found] == [whole[i + 1 : i + 8] for i in range(0, len(whole) // 8 * 8, 8)]


def test_a_document_that_is_too_long_to_tokenise_whole_is_refused(tokenizer: Any) -> None:
    with pytest.raises(
        AttnRulesError, match=r"document 2: is of 8,000,001 characters, --keep-long-documents"
    ):
        rows_of(["short", "a" * 8_000_001], tokenizer, keep_long_documents=True)


def test_a_token_without_an_embedding_is_refused_by_name(tokenizer: Any) -> None:
    import copy

    more = copy.deepcopy(tokenizer)
    more.add_tokens(["<|im_start|>"], special_tokens=True)
    texts = ["plain", "<|im_start|>user and some words more"]
    with pytest.raises(
        AttnRulesError, match=rf"document 2 holds '<\|im_start\|>' \(id {tokenizer.vocab_size}\)"
    ):
        rows_of(texts, more)
    assert rows_of(texts, more, special_tokens="text")


# --- fuzzing ---------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)
RECORDS = st.lists(st.one_of(VALUES, st.fixed_dictionaries({"text": SCALARS})), max_size=6)


def outcome(path: Path, **options: Any) -> list[str] | None:
    """Return the documents of a file, None where it is refused; anything else fails the test."""
    spec = CorpusSpec(str(path), **options)
    try:
        locate(spec)
        found = list(documents(spec))
    except AttnRulesError as error:
        said = str(error)
    else:
        return found
    assert said
    assert "\n" not in said
    return None


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=200),
    name=st.sampled_from(["a.jsonl", "a.txt", "a.parquet", "a.txt.gz", "a.json.zst"]),
)
def test_random_bytes_are_read_or_refused(scratch: Path, content: bytes, name: str) -> None:
    (scratch / name).write_bytes(content)
    outcome(scratch / name)
    outcome(scratch / name, lines=True)


@settings(max_examples=150, deadline=None)
@given(records=RECORDS, as_array=st.booleans())
def test_random_values_are_read_or_refused(scratch: Path, records: list[Any], as_array: bool) -> None:
    text = json.dumps(records) if as_array else "\n".join(map(json.dumps, records))
    (scratch / "values.json").write_text(text)
    found = outcome(scratch / "values.json")
    if found is not None and all(isinstance(record, dict) for record in records):
        assert found == [record.get("text") or "" for record in records]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_lines_are_read_or_refused(scratch: Path, data: st.DataObject) -> None:
    content = bytearray(lines(TEXTS))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    (scratch / "mutated.jsonl").write_bytes(content)
    outcome(scratch / "mutated.jsonl")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mutated_parquet_is_read_or_refused(scratch: Path, data: st.DataObject) -> None:
    write_parquet(scratch / "sound.parquet")
    content = bytearray((scratch / "sound.parquet").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (scratch / "mutated.parquet").write_bytes(content)
    outcome(scratch / "mutated.parquet")


def test_damaged_parquet_metadata_do_not_end_the_process(scratch: Path) -> None:
    """Some of these bits are metadata of columns for which pyarrow aborts instead of raising."""
    write_parquet(scratch / "sound.parquet")
    sound = (scratch / "sound.parquet").read_bytes()
    footer = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    outcomes = []
    for at in range(footer, footer + 64):
        content = bytearray(sound)
        content[at] ^= 4
        (scratch / "damaged.parquet").write_bytes(content)
        outcomes.append(outcome(scratch / "damaged.parquet"))
    assert None in outcomes


# --- what was read is recorded ---------------------------------------------------------------------


@pytest.fixture
def in_parts(planted: PlantedModel, planted_spec: IngestSpec, tmp_path: Path) -> IngestSpec:
    """The planted corpus as a folder of three files, of which 20 sequences need the first two."""
    folder = tmp_path / "parts"
    folder.mkdir()
    records = planted.corpus_path.read_text().splitlines(keepends=True)
    for name, some in (("a", records[:10]), ("b", records[10:400]), ("c", records[400:])):
        (folder / f"{name}.jsonl").write_text("".join(some))
    return replace(
        planted_spec,
        corpus=replace(planted_spec.corpus, source=str(folder)),
        n_sequences=20,
        layers=(0,),
        heads=(0,),
    )


def test_each_file_is_recorded_and_a_changed_one_is_refused_by_name(
    in_parts: IngestSpec, tmp_path: Path
) -> None:
    path, folder = tmp_path / "w.duckdb", Path(in_parts.corpus.source)
    ingest(path, in_parts)
    with Warehouse.open(path) as warehouse:
        found = warehouse.rows("SELECT file, n_bytes, sha256 FROM corpus_files ORDER BY file_id")
    assert found == [
        (name, (folder / name).stat().st_size, hashlib.sha256((folder / name).read_bytes()).hexdigest())
        for name in ("a.jsonl", "b.jsonl")
    ]
    (folder / "c.jsonl").write_bytes(lines(["changed"]))  # it was not read
    assert ingest(path, in_parts).n_sequences == 20
    sound = (folder / "b.jsonl").read_bytes()
    (folder / "b.jsonl").write_bytes(sound.replace(b"a", b"o", 1))
    with pytest.raises(AttnRulesError, match=r"its file b\.jsonl is no longer what was read"):
        ingest(path, in_parts)
    (folder / "b.jsonl").write_bytes(sound)
    shutil.copy(folder / "a.jsonl", folder / "0.jsonl")
    with pytest.raises(
        AttnRulesError, match=r"its file a\.jsonl was read, now there is 0\.jsonl in its place"
    ):
        ingest(path, in_parts)


def test_digests_of_files_stand_when_more_are_read(in_parts: IngestSpec, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    ingest(path, in_parts)
    with Warehouse.open(path, writable=True) as warehouse:
        assert warehouse.value("SELECT count(*) FROM corpus_files") == 2
        warehouse.execute("UPDATE corpus_files SET file_id = -1 WHERE file = 'a.jsonl'")
    ingest(path, replace(in_parts, n_sequences=600))
    with Warehouse.open(path, writable=True) as warehouse:
        assert warehouse.value("SELECT count(*) FROM corpus_files") == 3
        assert digests.problems(warehouse, "corpus_files")
        warehouse.execute("UPDATE corpus_files SET file_id = 0 WHERE file = 'a.jsonl'")
        assert [result for result in check(warehouse) if result.n_problems] == []


def test_info_and_describe_show_the_files(attnrules: Any, in_parts: IngestSpec, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    ingest(path, in_parts)
    assert "file       b.jsonl: " in attnrules("info", path).out
    assert [f["file"] for f in json.loads(attnrules("describe", path, "--json").out)["corpus"]["files"]] == [
        "a.jsonl",
        "b.jsonl",
    ]
    assert "bytes in 2 files" in " ".join(attnrules("describe", path).out.split())


def test_info_names_some_of_many_files_and_counts_the_rest(attnrules: Any, ingested: Path) -> None:
    with Warehouse.open(ingested, writable=True) as warehouse:
        warehouse.execute(
            "INSERT INTO corpus_files SELECT n + 1, 'part' || n || '.jsonl', n, repeat('0', 64) FROM range(40) AS t(n)"
        )
    told = [line for line in attnrules("info", ingested).out.splitlines() if line.startswith("file ")]
    assert told[1].startswith("file       part0.jsonl: 0 bytes")
    assert told[-1] == f"file       and {41 - (len(told) - 1)} more, see the table corpus_files"
    assert len(told) < 15


def test_another_reading_of_the_same_files_is_refused(in_parts: IngestSpec, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    ingest(path, in_parts)
    for option, changed in (("--lines", {"lines": True}), ("--special-tokens", {"special_tokens": "text"})):
        with pytest.raises(AttnRulesError, match=option):
            ingest(path, replace(in_parts, corpus=replace(in_parts.corpus, **changed)))


@pytest.mark.parametrize(("name", "written"), [("docs.jsonl", bytes), ("docs.jsonl.gz", gzip.compress)])
def test_a_torn_file_is_read_on_once_it_is_mended(
    planted: PlantedModel,
    in_parts: IngestSpec,
    tmp_path: Path,
    name: str,
    written: Callable[[bytes], bytes],
) -> None:
    rng = random.Random(0)
    records = [json.loads(line) for line in planted.corpus_path.read_text().splitlines()]
    # Of several blocks, so that some documents come before the tear is met.
    padded = [json.dumps({**record, "id": rng.randbytes(4000).hex()}) + "\n" for record in records]
    whole = written("".join(padded).encode())
    spec = replace(
        in_parts,
        corpus=replace(in_parts.corpus, source=str(tmp_path / name)),
        n_sequences=600,
    )
    path, file = tmp_path / "w.duckdb", tmp_path / name
    file.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(AttnRulesError, match=name) as torn:
        ingest(path, spec)
    assert "\n" not in str(torn.value)
    with Warehouse.open(path) as warehouse:
        n_stored = warehouse.value("SELECT sum(n_seqs) FROM chunks")
    file.write_bytes(whole)
    mended = ingest(path, spec)
    assert 0 < n_stored < mended.n_sequences == 600
    assert [said for said in mended.warnings if "yields the sequences stored here again" in said]
    assert file_rows(path) == [(name, file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())]
    with Warehouse.open(path) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []
        by_sequence = "SELECT list(token_id ORDER BY pos) FROM tokens GROUP BY seq_id ORDER BY seq_id"
        assert [row for (row,) in warehouse.rows(by_sequence)] == reference_rows(planted)[:600]


def test_a_torn_parquet_file_of_a_folder_is_read_once_it_is_mended(
    in_parts: IngestSpec, tmp_path: Path
) -> None:
    folder, path = Path(in_parts.corpus.source), tmp_path / "w.duckdb"
    for file in sorted(folder.iterdir()):
        texts = [json.loads(line)["text"] for line in file.read_text().splitlines()]
        pq.write_table(pa.table({"text": texts}), file.with_suffix(".parquet"))
        file.unlink()
    last = folder / "c.parquet"
    sound = last.read_bytes()
    last.write_bytes(sound[:-100])
    spec = replace(in_parts, n_sequences=600)
    with pytest.raises(AttnRulesError, match=r"c\.parquet"):
        ingest(path, spec)
    assert [name for name, *_ in file_rows(path)] == ["a.parquet", "b.parquet"]
    last.write_bytes(sound)
    assert ingest(path, spec).n_sequences == 600
    assert [name for name, *_ in file_rows(path)] == ["a.parquet", "b.parquet", "c.parquet"]


def file_rows(path: Path) -> list[Any]:
    with Warehouse.open(path) as warehouse:
        return warehouse.rows("SELECT file, n_bytes, sha256 FROM corpus_files ORDER BY file_id")


def test_a_file_that_has_grown_is_recorded_anew_though_no_sequence_is_added(
    in_parts: IngestSpec, tmp_path: Path
) -> None:
    path, file = tmp_path / "w.duckdb", Path(in_parts.corpus.source) / "b.jsonl"
    ingest(path, in_parts)
    before = file_rows(path)
    file.write_bytes(file.read_bytes() + lines(["one more"]))
    assert ingest(path, in_parts).n_sequences == 20
    assert file_rows(path) == [
        before[0],
        ("b.jsonl", file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()),
    ]
    with Warehouse.open(path) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []


def test_other_sequences_are_refused_before_anything_is_stored(in_parts: IngestSpec, tmp_path: Path) -> None:
    path, file = tmp_path / "w.duckdb", Path(in_parts.corpus.source) / "a.jsonl"
    ingest(path, in_parts)
    records = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*records[:3], *records[4:], records[3]]))
    held = path.read_bytes()
    with pytest.raises(AttnRulesError, match=r"its sequence 5 again.*its file a\.jsonl is no longer"):
        ingest(path, replace(in_parts, heads=(0, 1)))
    assert path.read_bytes() == held
