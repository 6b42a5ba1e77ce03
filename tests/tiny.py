"""Tiny warehouses made by hand, full of ties and edge cases; no model behind them.

Every number is a small dyadic fraction, so that sums are exact in any order and what ties in the definitions
ties in the warehouse. A second head and a second layer hold rows of their own, which nothing may mix in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from attnrules.sql import WHOLE_LAYER
from attnrules.warehouse import Warehouse

D_HEAD = 2
HEADS = ((0, 0), (0, 1), (1, 0))
N_INPUTS, N_OUTPUTS = 9, 7
N_TOKENS = 3  # BOS is the next one
ACTIVATIONS = (0.5, 1.0, 2.0)
# The first two fall in one tenth of the largest, but not in one ninth.
OUTPUT_ACTIVATIONS = (0.4375, 0.5, 1.0, 2.0)
SCALES = (0.5, 1.0, 2.0)
WEIGHTS = (0.0, 0.125, 0.25, 0.5)

# Input features, the rest fires at random.
SILENT_INPUT, STEADY_INPUT, BOS_INPUT = 0, 1, 2
# Output features, the rest fires at random.
SILENT, EVERYWHERE, WHOLE_SEQUENCES, ONCE, AT_BOS = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Tiny:
    """How to make a tiny warehouse.

    Args:
        seed: of everything that is drawn.
        seq_len: BOS included; with 2, a sequence is one token.
        steep: whether exp(S) leaves a double for some pairs.
        sparse: whether half of the attention sources are missing.
    """

    seed: int
    n_seqs: int
    seq_len: int
    steep: bool
    sparse: bool


def shapes(least: int) -> st.SearchStrategy[Tiny]:
    """Tiny warehouses of at least so many sequences, the smallest first: one token each, nothing steep."""
    return st.builds(
        Tiny,
        seed=st.integers(0, 2**32 - 1),
        n_seqs=st.integers(least, 20),
        seq_len=st.integers(2, 5),
        steep=st.booleans(),
        sparse=st.booleans(),
    )


def build(path: Path, tiny: Tiny) -> Warehouse:
    """Make a warehouse as a finished ingest leaves it; the caller closes it."""
    rng = np.random.default_rng(tiny.seed)
    path.write_bytes(_empty())
    warehouse = Warehouse.open(path, writable=True)
    with warehouse.transaction():
        warehouse.append("corpus", pa.Table.from_pylist([corpus(tiny)]))
        warehouse.append("chunks", pa.Table.from_pylist([chunk(tiny)]))
        for name, rows in (
            ("vocabulary", [{"token_id": t, "token": f"t{t}"} for t in range(N_TOKENS + 1)]),
            ("tokens", tokens(tiny, rng)),
            ("token_scales", token_scales(tiny, rng)),
            ("input_activations", input_activations(tiny, rng)),
            ("output_activations", output_activations(tiny, rng)),
            ("attention_sources", attention_sources(tiny, rng)),
            ("heads", heads(rng)),
            ("projections", projections(tiny, rng)),
            ("input_features", features(N_INPUTS, layers=(0, 1))),
            ("output_features", outputs := list(output_features(rng))),
            ("feature_heads", map(only_head, outputs)),
        ):
            warehouse.append(name, pa.Table.from_pylist(list(rows)))
    warehouse.refresh_derived()
    return warehouse


@cache
def _empty() -> bytes:
    """A warehouse without rows: making one takes a third of a second, most of it for comments."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.duckdb"
        Warehouse.create(path, d_head=D_HEAD).close()
        return path.read_bytes()


def add_layer_sae(warehouse: Warehouse, tiny: Tiny, layer: int) -> None:
    """Add an output SAE over a whole layer, which reads every head of it."""
    rng = np.random.default_rng(tiny.seed + 1)
    at = [(layer, WHOLE_LAYER)]
    outputs = list(output_features(rng, at))
    through = [head for other, head in HEADS if other == layer]
    parts = [
        {**only_head(row), "through_head": head, "encoder": vector(rng), "weight_share": 1 / len(through)}
        for row in outputs
        for head in through
    ]
    with warehouse.transaction():
        for name, rows in (
            ("output_activations", list(output_activations(tiny, rng, at))),
            ("output_features", [{**row, "encoder": None} for row in outputs]),
            ("feature_heads", parts),
        ):
            warehouse.append(name, pa.Table.from_pylist(rows))
        warehouse.execute(
            "UPDATE chunks SET heads = list_append(heads, head_label($layer, -1))", {"layer": layer}
        )
    warehouse.refresh_derived()


def corpus(tiny: Tiny) -> dict[str, Any]:
    return {
        "source": "tiny",
        "split": "train",
        "text_column": "text",
        "seq_len": tiny.seq_len,
        "keep_long_documents": False,
        "min_attention": 0.0,
    }


def chunk(tiny: Tiny) -> dict[str, Any]:
    counts = ("tokens", "input_activations", "output_activations", "attention_sources", "token_scales")
    return {
        "chunk_id": 0,
        "first_seq": 0,
        "n_seqs": tiny.n_seqs,
        "state": "done",
        **dict.fromkeys(counts, 0),
        "heads": [f"L{layer}H{head}" for layer, head in HEADS],
        "run_id": 1,
    }


def places(tiny: Tiny) -> Iterator[dict[str, int]]:
    for seq in range(tiny.n_seqs):
        for pos in range(tiny.seq_len):
            yield {"seq_id": seq, "pos": pos}


def tokens(tiny: Tiny, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for at in places(tiny):
        yield {**at, "token_id": int(rng.integers(N_TOKENS)) if at["pos"] else N_TOKENS}


def token_scales(tiny: Tiny, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for layer in (0, 1):
        for at in places(tiny):
            scale, from_features = rng.choice(SCALES, 2).tolist()
            yield {
                "layer": layer,
                **at,
                "ln_scale": scale,
                "ln_scale_from_features": from_features,
                "reconstruction_error": 0.0,
            }


def input_activations(tiny: Tiny, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for layer in (0, 1):
        for at in places(tiny):
            for feature in range(N_INPUTS):
                fires = bool(rng.random() < 0.4)
                if feature == STEADY_INPUT:
                    fires = at["pos"] > 0
                if feature == BOS_INPUT:
                    fires = fires or at["pos"] == 0
                if fires and feature != SILENT_INPUT:
                    yield {"layer": layer, **at, "feature": feature, "activation": rng.choice(ACTIVATIONS)}


def output_activations(
    tiny: Tiny, rng: np.random.Generator, of_heads: Sequence[tuple[int, int]] = HEADS
) -> Iterator[dict[str, Any]]:
    for layer, head in of_heads:
        chosen = rng.random((N_OUTPUTS, tiny.n_seqs)) < 0.5
        # One feature can be mined however few sequences there are.
        chosen[WHOLE_SEQUENCES] = rng.permutation(tiny.n_seqs) < tiny.n_seqs // 2
        once = rng.integers(0, tiny.seq_len, tiny.n_seqs)
        for at in places(tiny):
            seq, pos = at["seq_id"], at["pos"]
            for feature in range(N_OUTPUTS):
                fires = {
                    SILENT: False,
                    EVERYWHERE: True,
                    WHOLE_SEQUENCES: bool(chosen[feature, seq]) and pos > 0,
                    ONCE: bool(chosen[feature, seq]) and pos == once[seq],
                    AT_BOS: bool(chosen[feature, seq]) and pos == 0,
                }.get(feature, bool(chosen[feature, seq] and rng.random() < 0.6))
                if fires:
                    at_head = {"layer": layer, "head": head, **at}
                    yield {**at_head, "feature": feature, "activation": rng.choice(OUTPUT_ACTIVATIONS)}


def attention_sources(tiny: Tiny, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for layer, head in HEADS:
        for at in places(tiny):
            for key_pos in range(at["pos"] + 1):
                weight, from_features = rng.choice(WEIGHTS, 2).tolist()
                if (weight or from_features) and not (tiny.sparse and rng.random() < 0.5):
                    yield {
                        "layer": layer,
                        "head": head,
                        "seq_id": at["seq_id"],
                        "query_pos": at["pos"],
                        "key_pos": key_pos,
                        "weight": weight,
                        "weight_from_features": from_features,
                    }


def vector(rng: np.random.Generator, size: int = 1) -> list[float]:
    return (size * rng.integers(-2, 3, D_HEAD)).astype(float).tolist()


def heads(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    names = ("b_Q", "b_K", "b_V", "decoder_bias_query", "decoder_bias_key", "decoder_bias_value")
    for layer, head in HEADS:
        yield {"layer": layer, "head": head, "attn_scale": 2.0, **{name: vector(rng) for name in names}}


def projections(tiny: Tiny, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    size = 30 if tiny.steep else 1
    for layer, head in HEADS:
        for feature in range(N_INPUTS):
            yield {
                "layer": layer,
                "head": head,
                "feature": feature,
                "key_vector": vector(rng, size),
                "query_vector": vector(rng, size),
                "value_vector": vector(rng),
            }


def features(n: int, layers: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    for layer in layers:
        for feature in range(n):
            yield {"layer": layer, "feature": feature, "n_sequences": 0, "n_tokens": 0}


def output_features(
    rng: np.random.Generator, of_heads: Sequence[tuple[int, int]] = HEADS
) -> Iterator[dict[str, Any]]:
    for layer, head in of_heads:
        for row in features(N_OUTPUTS, layers=(layer,)):
            biases = {"bias": 0.0, "preactivation_bias": float(rng.choice((-0.5, 0.25)))}
            yield {"head": head, **row, **biases, "encoder": vector(rng)}


def only_head(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("layer", "head", "feature", "encoder")}
    return {**kept, "through_head": row["head"], "weight_share": 1.0}


def keep_log(path: Path, statement: str) -> None:
    """Run a statement on a database and leave what it committed in the log, as DuckDB does on a full disk."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute(statement)
