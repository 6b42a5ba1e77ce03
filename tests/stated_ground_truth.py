"""A warehouse made by hand whose output features follow rules that we wrote down: one head per kind of rule.

Every token has an input feature of its own, of activation 1 and value vector e_token. A head attends, with all
of its attention, to the positions that its rule is about, and to BOS where there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from attnrules.warehouse import Warehouse
from tests.tiny import only_head

N_WORDS, SEQ_LEN, N_SEQS = 12, 16, 360
BOS = N_WORDS
Words = list[int]


@dataclass(frozen=True)
class Planted:
    """A head and its one output feature that is not silent.

    Arguments:
        statement: the rule, in the language. active: whether the feature is active at q. attended: the
            positions that the head attends to at q. keys: words whose value the feature reads.
    """

    statement: str
    active: Callable[[Words, int], bool]
    attended: Callable[[Words, int], list[int]]
    keys: tuple[int, ...]


def copies(words: Words, q: int) -> list[int]:
    return [k for k in range(1, q) if words[k] == words[q]]


def before(q: int, offset: int) -> list[int]:
    return [q - offset] if q > offset else []


EVERY_WORD = tuple(range(N_WORDS))
HEADS = (
    Planted("['w1'] at -1", lambda w, q: q > 1 and w[q - 1] == 1, lambda w, q: before(q, 1), (1,)),
    Planted(
        "['w2'] at -2 and ['w3', 'w4'] at 0",
        lambda w, q: q > 2 and w[q - 2] == 2 and w[q] in (3, 4),
        lambda w, q: before(q, 2) if w[q] in (3, 4) else [],
        (2,),
    ),
    Planted("[same] before", lambda w, q: bool(copies(w, q)), copies, EVERY_WORD),
    Planted(
        "['w4'] after copy",
        lambda w, q: any(w[k + 1] == 4 for k in copies(w, q)),
        lambda w, q: [k + 1 for k in copies(w, q) if w[k + 1] == 4],
        (4,),
    ),
    Planted(
        "['w5', 'w6', 'w7'] at -1",
        lambda w, q: q > 1 and w[q - 1] in (5, 6, 7),
        lambda w, q: before(q, 1),
        (5, 6, 7),
    ),
    Planted(
        "['w8'] at -1 and no ['w9'] anywhere",
        lambda w, q: q > 1 and w[q - 1] == 8 and 9 not in w[1 : q + 1],
        lambda w, q: [] if 9 in w[1 : q + 1] else before(q, 1),
        (8,),
    ),
)


def words_of(rng: np.random.Generator) -> Words:
    return [BOS, *rng.integers(0, N_WORDS, SEQ_LEN - 1).tolist()]


def rows(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Rows of every table."""
    rng = np.random.default_rng(seed)
    texts = [words_of(rng) for _ in range(N_SEQS)]
    places = [(seq, pos) for seq in range(N_SEQS) for pos in range(SEQ_LEN)]
    at = [{"seq_id": seq, "pos": pos} for seq, pos in places]
    scale = {"layer": 0, "ln_scale": 1.0, "ln_scale_from_features": 1.0, "reconstruction_error": 0.0}
    return {
        "vocabulary": [{"token_id": t, "token": "<bos>" if t == BOS else f"w{t}"} for t in range(N_WORDS + 1)],
        "tokens": [{**p, "token_id": texts[p["seq_id"]][p["pos"]]} for p in at],
        "token_scales": [{**scale, **p} for p in at],
        "input_activations": [
            {"layer": 0, **p, "feature": texts[p["seq_id"]][p["pos"]], "activation": 1.0} for p in at
        ],
        "output_activations": [
            {"layer": 0, "head": head, "seq_id": seq, "pos": q, "feature": 0, "activation": 1.0}
            for head, planted in enumerate(HEADS)
            for seq, q in places
            if q > 0 and planted.active(texts[seq], q)
        ],
        "attention_sources": list(_sources(texts)),
        "heads": [{"layer": 0, "head": head, "attn_scale": 1.0, **_biases()} for head in range(len(HEADS))],
        "projections": [
            {"layer": 0, "head": head, "feature": i, "key_vector": _one(i), "query_vector": _one(i), "value_vector": _one(i)}
            for head in range(len(HEADS))
            for i in range(N_WORDS + 1)
        ],
        "input_features": [{"layer": 0, "feature": i, "n_sequences": 0, "n_tokens": 0} for i in range(N_WORDS + 1)],
        "output_features": [
            {"layer": 0, "head": head, "feature": 0, "n_sequences": 0, "n_tokens": 0, "bias": -0.25,
             "preactivation_bias": -0.25, "encoder": np.sum([_one(k) for k in planted.keys], axis=0).tolist()}
            for head, planted in enumerate(HEADS)
        ],
        "saes": [{"role": "input", "layer": 0, "source": "planted", "hook_name": "x", "d_in": N_WORDS + 1,
                  "d_sae": N_WORDS + 1, "architecture": "relu", "sha256": ""}],
    }  # fmt: skip


def _sources(texts: list[Words]) -> Iterator[dict[str, Any]]:
    for head, planted in enumerate(HEADS):
        for seq, words in enumerate(texts):
            for q in range(SEQ_LEN):
                keys = (planted.attended(words, q) if q else []) or [0]
                for k in keys:
                    weight = 1 / len(keys)
                    yield {"layer": 0, "head": head, "seq_id": seq, "query_pos": q, "key_pos": k,
                           "weight": weight, "weight_from_features": weight}  # fmt: skip


def _one(word: int) -> list[float]:
    return [float(word == other) for other in range(N_WORDS + 1)]


def _biases() -> dict[str, list[float]]:
    names = ("b_Q", "b_K", "b_V", "decoder_bias_query", "decoder_bias_key", "decoder_bias_value")
    return {name: [0.0] * (N_WORDS + 1) for name in names}


def build(path: Path, seed: int = 0) -> Warehouse:
    """Make the warehouse as a finished ingest leaves it; the caller closes it."""
    warehouse = Warehouse.create(path, d_head=N_WORDS + 1)
    facts = ("tokens", "input_activations", "output_activations", "attention_sources", "token_scales")
    with warehouse.transaction():
        warehouse.append("corpus", pa.Table.from_pylist([
            {"source": "planted", "split": "train", "text_column": "text", "seq_len": SEQ_LEN,
             "keep_long_documents": False, "min_attention": 0.0}]))  # fmt: skip
        heads = [f"L0H{head}" for head in range(len(HEADS))]
        warehouse.append("chunks", pa.Table.from_pylist([
            {"chunk_id": 0, "first_seq": 0, "n_seqs": N_SEQS, "state": "done", **dict.fromkeys(facts, 0),
             "heads": heads, "run_id": 1}]))  # fmt: skip
        for name, of_table in rows(seed).items():
            warehouse.append(name, pa.Table.from_pylist(of_table))
            if name == "output_features":
                warehouse.append("feature_heads", pa.Table.from_pylist(list(map(only_head, of_table))))
    warehouse.refresh_derived()
    return warehouse
