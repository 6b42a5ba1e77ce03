"""What the tokens of a vocabulary are: texts, or parts of characters; and which are special."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE_MARK = "▁"


@dataclass(frozen=True)
class _Writing:
    """How a tokenizer writes the text of a token as a piece.

    Arguments:
        byte_of: byte that each character stands for, in vocabularies of bytes; None in others.
        marks_spaces: whether U+2581 stands for a space wherever it occurs, as in SentencePiece.
        verbatim: tokens that are their own text.
    """

    byte_of: dict[str, int] | None
    marks_spaces: bool
    verbatim: dict[int, str]


def special_tokens(tokenizer: Any) -> dict[int, str]:
    """Return the special tokens that the text of a document can bring, by id; not the one for the unknown."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    names = {int(i): str(token) for i, token in added.items() if token.special}
    names |= dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    if tokenizer.unk_token_id not in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        names.pop(tokenizer.unk_token_id, None)
    return names


def token_text(tokenizer: Any, token_id: int, piece: str | None) -> str:
    """Return the text of a token, spaces kept; bytes that are no character alone are spelt as <0xE2>.

    `piece` is the token as the tokenizer writes it, None for an id that it leaves out.
    """
    writing = _writing(tokenizer)
    if (content := _bytes_to_spell(writing, token_id, piece)) is not None:
        # A byte of SentencePiece is spelt always: its character may be another token.
        return piece if piece and _BYTE_PIECE.fullmatch(piece) else _spelt(content)
    if token_id in writing.verbatim:
        return writing.verbatim[token_id]
    if piece is not None and writing.marks_spaces:
        return piece.replace(_SPACE_MARK, " ")
    return str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))


def token_bytes(tokenizer: Any, token_id: int, piece: str | None) -> str | None:
    """Return, in hexadecimal, the bytes of a token whose text spells them; None for any other."""
    content = _bytes_to_spell(_writing(tokenizer), token_id, piece)
    return None if content is None else content.hex().upper()


def _bytes_to_spell(writing: _Writing, token_id: int, piece: str | None) -> bytes | None:
    """Return the bytes of a token that is one byte by its name, or is no text; None for any other."""
    if piece is None or token_id in writing.verbatim:
        return None
    if writing.byte_of is not None and all(c in writing.byte_of for c in piece):
        content = bytes(writing.byte_of[c] for c in piece)
        return None if _is_text(content) else content
    as_byte = _BYTE_PIECE.fullmatch(piece) if writing.marks_spaces else None
    return bytes.fromhex(as_byte[1]) if as_byte else None


def _spelt(content: bytes) -> str:
    decoded = content.decode("utf-8", "surrogateescape")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in decoded)


@lru_cache(maxsize=2)
def _writing(tokenizer: Any) -> _Writing:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    steps = list(_decoding_steps(tokenizer))
    kinds = {str(step.get("type")) for step in steps}
    of_bytes = "ByteLevel" in kinds or hasattr(tokenizer, "byte_decoder")
    return _Writing(
        byte_of={character: byte for byte, character in bytes_to_unicode().items()} if of_bytes else None,
        marks_spaces="Metaspace" in kinds
        or any(step.get("pattern") == {"String": _SPACE_MARK} for step in steps)
        or hasattr(tokenizer, "sp_model"),
        verbatim=special_tokens(tokenizer),
    )


def _decoding_steps(tokenizer: Any) -> list[dict[str, Any]]:
    """Return what a fast tokenizer does to turn pieces into text, none for others."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return []
    whole: dict[str, Any] = json.loads(decoder.__getstate__())
    return list(whole.get("decoders", [whole]))


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
