"""The demo corpus as token ids: documents, and rows cut from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attnrules.demo.corpus import iter_documents

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def encode_documents(tokenizer: Any, held_out: bool) -> list[list[int]]:
    """Token ids of the documents of one part of the corpus, without BOS."""
    return [
        tokenizer.encode(document.text, add_special_tokens=False, verbose=False)
        for document in iter_documents()
        if document.held_out == held_out
    ]


def cut_rows(documents: Sequence[list[int]], row_len: int, bos: int) -> Tensor:
    """Rows [n_rows, row_len]: BOS, then consecutive tokens of one document; the rest is dropped."""
    import torch

    body = row_len - 1
    return torch.tensor(
        [
            [bos, *ids[start : start + body]]
            for ids in documents
            for start in range(0, len(ids) - body + 1, body)
        ]
    )


def token_stream(documents: Sequence[list[int]], bos: int) -> Tensor:
    """All documents one after the other [n_tokens], each closed by the BOS/EOS token."""
    import torch

    return torch.tensor([token for ids in documents for token in [*ids, bos]])


def random_rows(stream: Tensor, bos: int, n_rows: int, row_len: int, generator: torch.Generator) -> Tensor:
    """Rows [n_rows, row_len] that start with BOS and go on from random places of the stream."""
    import torch

    starts = torch.randint(len(stream) - row_len, (n_rows, 1), generator=generator)
    body = stream[starts + torch.arange(row_len - 1)]
    return torch.cat([torch.full((n_rows, 1), bos), body], dim=1)
