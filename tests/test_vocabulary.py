"""The text of tokens: spaces, bytes, parts of characters and special tokens, for every way of writing pieces."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from attnrules.ingest.sources.vocabulary import token_bytes, token_text
from attnrules.warehouse import Warehouse

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
TEXT = "    x ▁▁ café 😀 日本語\n\tend  "


def with_fallback(decoder: decoders.Decoder) -> Any:
    """A vocabulary of letters, spaces and bytes as SentencePiece writes them."""
    pieces = [*SPECIAL, *BYTES, "▁", "▁▁", "▁▁▁▁", "▁x", "a▁b", *map(chr, range(33, 127))]
    merges = [("▁", "▁"), ("▁▁", "▁▁"), ("▁", "x")]
    model = models.BPE(
        {p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoder
    return fast(tokenizer)


def of_bytes() -> Any:
    """A vocabulary of bytes and some pairs of them, as GPT-2 writes them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("Ġ", "ð"), ("ð", "Ł"), ("Ġ", "c"), ("ĺ", "Ģ")]
    pieces = [*SPECIAL, *letters, *(a + b for a, b in pairs)]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return fast(tokenizer)


def fast(tokenizer: Tokenizer) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


LLAMA = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
TOKENIZERS = {
    "Llama": lambda: with_fallback(LLAMA),
    "Metaspace": lambda: with_fallback(decoders.Metaspace()),
    "byte level": of_bytes,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def vocabulary(tokenizer: Any) -> tuple[list[str], list[str | None]]:
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return (
        [token_text(tokenizer, i, piece) for i, piece in enumerate(pieces)],
        [token_bytes(tokenizer, i, piece) for i, piece in enumerate(pieces)],
    )


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        ("▁▁▁▁", "    "),
        ("▁x", " x"),
        ("a▁b", "a b"),
        ("<0x0A>", "<0x0A>"),
        ("<0xE2>", "<0xE2>"),
        ("<s>", "<s>"),
    ],
)
def test_a_sentencepiece_token_is_its_text(piece: str, text: str) -> None:
    for decoder in (LLAMA, decoders.Metaspace()):
        tokenizer = with_fallback(decoder)
        assert token_text(tokenizer, tokenizer.convert_tokens_to_ids(piece), piece) == text


def test_a_token_of_bytes_shows_those_that_are_no_character() -> None:
    tokenizer = of_bytes()
    shown = {
        piece: token_text(tokenizer, tokenizer.convert_tokens_to_ids(piece), piece)
        for piece in ("Ġc", "Ġð", "Ċ", "ĺĢ")
    }
    assert shown == {"Ġc": " c", "Ġð": " <0xF0>", "Ċ": "\n", "ĺĢ": "<0x98><0x80>"}


def test_every_token_has_a_text_of_its_own(tokenizer: Any) -> None:
    texts, spelt = vocabulary(tokenizer)
    assert sum(content is not None for content in spelt) >= 128
    assert len(set(texts)) == len(texts)
    assert "\ufffd" not in texts


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A warehouse for sequences of any vocabulary."""
    with Warehouse.create(tmp_path_factory.mktemp("shelf") / "w.duckdb", d_head=1) as warehouse:
        yield warehouse


def token_text_of(warehouse: Warehouse, tokenizer: Any, ids: list[int]) -> str:
    """Return what the macro token_text says of a sequence of these ids."""
    texts, partial = vocabulary(tokenizer)
    for table in ("tokens", "vocabulary"):
        warehouse.execute(f"DELETE FROM {table}")
    rows = {"token_id": range(len(texts)), "token": texts, "token_bytes": pa.array(partial, pa.string())}
    warehouse.append("vocabulary", pa.table(rows))
    warehouse.append("tokens", pa.table({"seq_id": [0] * len(ids), "pos": range(len(ids)), "token_id": ids}))
    return str(warehouse.value("SELECT token_text(0)"))


def test_the_text_of_a_sequence_is_the_text_of_the_document(tokenizer: Any, shelf: Warehouse) -> None:
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    written = TEXT.replace("▁", " ") if tokenizer.convert_tokens_to_ids("▁▁") else TEXT
    assert token_text_of(shelf, tokenizer, ids) == written


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bytes_in_any_order_are_characters_where_they_can_be(shelf: Warehouse, data: st.DataObject) -> None:
    tokenizer = of_bytes()
    content = b"".join(
        data.draw(st.lists(st.one_of(st.binary(max_size=4), st.text(max_size=3).map(str.encode)), min_size=1))
    )
    letter_of = {
        token_bytes(tokenizer, i, p) or token_text(tokenizer, i, p).encode().hex().upper(): i
        for i, p in enumerate(
            tokenizer.convert_ids_to_tokens(list(range(len(SPECIAL), len(SPECIAL) + 256))), 3
        )
    }
    decoded = content.decode("utf-8", "surrogateescape")
    expected = "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) < 0xDD00 else c for c in decoded)
    if content:
        ids = [letter_of[f"{byte:02X}"] for byte in content]
        assert token_text_of(shelf, tokenizer, ids) == expected


def test_a_sequence_without_parts_of_characters_needs_no_bytes(shelf: Warehouse) -> None:
    tokenizer = of_bytes()
    ids = tokenizer("plain text", add_special_tokens=False)["input_ids"]
    token_text_of(shelf, tokenizer, ids)
    shelf.execute("UPDATE vocabulary SET token_bytes = NULL")  # as after an upgrade
    assert shelf.value("SELECT token_text(0)") == "plain text"
