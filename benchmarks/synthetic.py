"""Synthetic warehouses of the size and sparsity of GPT-2 small's, for benchmarks that need no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from attnrules.sql import WHOLE_LAYER, head_name
from attnrules.warehouse import Warehouse

SEQ_LEN, N_INPUT, D_HEAD, VOCABULARY = 64, 24_576, 64, 50_257
# Per token: input features active, output features active, key positions with more than 1% of the attention.
ACTIVE_INPUT, ACTIVE_OUTPUT, SOURCES = 20, 6, 10
# Standard deviation of the logarithm of how often a feature is active: the median input feature on 1 token in
# 4,400, the commonest on 1 in 8.
INPUT_SPREAD, OUTPUT_SPREAD = 1.6, 1.0
_SEQUENCES_AT_ONCE = 1000

Array = np.ndarray[Any, Any]


def frequencies(rng: np.random.Generator, n_features: int, spread: float) -> Array:
    """Return how often each feature is drawn, log-normal."""
    weight: Array = np.exp(rng.normal(0, spread, n_features))
    return np.asarray(weight / weight.sum())


def append_activations(
    warehouse: Warehouse, n_sequences: int, *, n_output: int, rng: np.random.Generator, head: int = 0
) -> Array:
    """Write input and output activations; return the frequencies of input features."""
    tables = {
        "input_activations": (N_INPUT, ACTIVE_INPUT, frequencies(rng, N_INPUT, INPUT_SPREAD)),
        "output_activations": (n_output, ACTIVE_OUTPUT, frequencies(rng, n_output, OUTPUT_SPREAD)),
    }
    for first in range(0, n_sequences, _SEQUENCES_AT_ONCE):
        n_tokens = min(_SEQUENCES_AT_ONCE, n_sequences - first) * SEQ_LEN
        for name, (n_features, n_active, frequency) in tables.items():
            drawn = np.searchsorted(frequency.cumsum(), rng.random(n_tokens * n_active))
            drawn = drawn.clip(0, n_features - 1)
            token, feature = np.divmod(
                np.unique(np.repeat(np.arange(n_tokens), n_active) * n_features + drawn), n_features
            )
            columns = {
                "layer": np.zeros(len(token), np.int16),
                **_places(token, first),
                "feature": feature.astype(np.int32),
                "activation": rng.exponential(1, len(token)).astype(np.float32),
            }
            if name == "output_activations":
                columns["head"] = columns["layer"] + np.int16(head)
            warehouse.append(name, pa.table(columns))
    return tables["input_activations"][2]


def whole_head(
    path: Path, *, n_sequences: int, n_output: int, n_heads: int | None = None, seed: int = 0
) -> None:
    """Write the warehouse of one head: facts, weights and counts, as an ingest leaves them.

    With `n_heads`, that of a layer of so many heads whose output SAE reads all of them.
    """
    at = 0 if n_heads is None else WHOLE_LAYER
    rng = np.random.default_rng(seed)
    with Warehouse.create(path, d_head=D_HEAD) as warehouse:
        with warehouse.run("synthesise", {"n_sequences": n_sequences, "n_output": n_output}) as run_id:
            append_activations(warehouse, n_sequences, n_output=n_output, rng=rng, head=at)
            for first in range(0, n_sequences, _SEQUENCES_AT_ONCE):
                n = min(_SEQUENCES_AT_ONCE, n_sequences - first)
                _append_tokens(warehouse, first, n, rng)
                for head in range(n_heads or 1):
                    _append_sources(warehouse, first, n, rng, head)
            _append_weights(warehouse, n_output, rng)
            if n_heads is not None:
                _read_whole_layer(warehouse, n_output, n_heads, rng)
            _append_ledger(warehouse, n_sequences, run_id, at)
        warehouse.refresh_derived()


def _places(token: Array, first: int) -> dict[str, Array]:
    seq, pos = np.divmod(token, SEQ_LEN)
    return {"seq_id": (seq + first).astype(np.int32), "pos": pos.astype(np.int32)}


def _append_tokens(warehouse: Warehouse, first: int, n: int, rng: np.random.Generator) -> None:
    places = _places(np.arange(n * SEQ_LEN), first)
    # Words are distributed by Zipf's law.
    token = (VOCABULARY ** rng.random(n * SEQ_LEN)).astype(np.int32)
    warehouse.append("tokens", pa.table({**places, "token_id": token}))
    scale = rng.uniform(1, 3, n * SEQ_LEN).astype(np.float32)
    scales = {"ln_scale": scale, "ln_scale_from_features": scale, "reconstruction_error": 0 * scale}
    warehouse.append("token_scales", pa.table({"layer": np.zeros(len(scale), np.int16), **places, **scales}))


def _append_sources(warehouse: Warehouse, first: int, n: int, rng: np.random.Generator, head: int) -> None:
    query, key = np.tril_indices(SEQ_LEN)
    # BOS always, the query's own position and the others so that the mean is SOURCES.
    share = np.minimum(1, np.where(key == 0, 1, 1.18 * (SOURCES - 1) / np.maximum(query, 1)))
    kept = rng.random((n, len(query))) < share
    seq, pair = np.nonzero(kept)
    weight = rng.exponential(1, len(seq)) * np.where(key[pair] == 0, 5, 1)
    computed = weight * np.exp(rng.normal(0, 0.5, len(seq)))
    at = seq * SEQ_LEN + query[pair]
    weights = {
        name: (0.95 * w / np.bincount(at, w, n * SEQ_LEN)[at]).astype(np.float32)
        for name, w in (("weight", weight), ("weight_from_features", computed))
    }
    zeros = np.zeros(len(seq), np.int16)
    warehouse.append(
        "attention_sources",
        pa.table(
            {
                "layer": zeros,
                "head": zeros + np.int16(head),
                "seq_id": (seq + first).astype(np.int32),
                "query_pos": query[pair].astype(np.int32),
                "key_pos": key[pair].astype(np.int32),
                **weights,
            }
        ),
    )


def _vectors(rng: np.random.Generator, n: int, scale: float) -> pa.Array:
    flat = rng.normal(0, scale, n * D_HEAD).astype(np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), D_HEAD)


def _append_weights(warehouse: Warehouse, n_output: int, rng: np.random.Generator) -> None:
    for table, n in (("projections", N_INPUT), ("input_features", N_INPUT), ("output_features", n_output)):
        zeros = np.zeros(n, np.int16)
        columns: dict[str, Any] = {"layer": zeros, "feature": np.arange(n, dtype=np.int32)}
        if table == "projections":
            columns["head"] = zeros
            columns |= {
                name: _vectors(rng, n, 0.3) for name in ("key_vector", "query_vector", "value_vector")
            }
        else:
            columns |= {"n_sequences": zeros, "n_tokens": zeros}
        if table == "output_features":
            columns |= {"head": zeros, "encoder": _vectors(rng, n, 0.3)}
            columns |= {"bias": zeros - 0.5, "preactivation_bias": zeros - 0.5}
        warehouse.append(table, pa.table(columns))
    read_off = {name: columns[name] for name in ("layer", "head", "feature", "encoder")}
    warehouse.append(
        "feature_heads", pa.table({**read_off, "through_head": zeros, "weight_share": zeros + 1.0})
    )
    _append_head(warehouse, 0, rng)


def _append_head(warehouse: Warehouse, head: int, rng: np.random.Generator) -> None:
    scale = {"layer": [0], "head": [head], "attn_scale": [D_HEAD**0.5]}
    biases = (*("b_Q", "b_K", "b_V", "decoder_bias_query", "decoder_bias_key", "decoder_bias_value"),)
    warehouse.append("heads", pa.table({**scale, **{name: _vectors(rng, 1, 0.1) for name in biases}}))


def _read_whole_layer(warehouse: Warehouse, n_output: int, n_heads: int, rng: np.random.Generator) -> None:
    """Let the SAE of head 0 read other heads too, as one over the whole layer."""
    warehouse.execute("UPDATE output_features SET head = -1, encoder = NULL")
    warehouse.execute("UPDATE feature_heads SET head = -1")
    for head in range(1, n_heads):
        for table, n, names in (
            ("projections", N_INPUT, ("key_vector", "query_vector", "value_vector")),
            ("feature_heads", n_output, ("encoder",)),
        ):
            zeros = np.zeros(n, np.int16)
            columns: dict[str, Any] = {"layer": zeros, "feature": np.arange(n, dtype=np.int32)}
            columns |= {name: _vectors(rng, n, 0.3) for name in names}
            if table == "feature_heads":
                columns |= {"head": zeros + np.int16(WHOLE_LAYER), "weight_share": zeros + 1 / n_heads}
            columns["through_head" if table == "feature_heads" else "head"] = zeros + np.int16(head)
            warehouse.append(table, pa.table(columns))
        _append_head(warehouse, head, rng)


def _append_ledger(warehouse: Warehouse, n_sequences: int, run_id: int, at: int) -> None:
    corpus = {"source": "synthetic", "split": "train", "text_column": "text", "seq_len": SEQ_LEN}
    corpus |= {"keep_long_documents": False, "min_attention": 0.01}
    warehouse.append("corpus", pa.Table.from_pylist([corpus]))
    counts = {
        table: warehouse.value(f"SELECT count(*) FROM {table}")
        for table in (
            *("tokens", "input_activations", "output_activations", "attention_sources", "token_scales"),
        )
    }
    chunk = {
        "chunk_id": 0,
        "first_seq": 0,
        "n_seqs": n_sequences,
        "state": "done",
        "heads": [head_name(0, at)],
    }
    warehouse.append("chunks", pa.Table.from_pylist([{**chunk, **counts, "run_id": run_id}]))
