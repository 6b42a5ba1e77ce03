"""Rows that are known from the weights alone: the model, its vocabulary, the SAEs, heads and projections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from attnrules.ingest.capture.rotation import Rotation
from attnrules.ingest.embeddings import embedding_descriptions
from attnrules.ingest.loading import Loaded
from attnrules.ingest.request import Request
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.model import Model
from attnrules.ingest.sources.sae_weights import Role
from attnrules.ingest.sources.saes import Sae
from attnrules.warehouse import WHOLE_LAYER, Warehouse, digests


def store_weights(
    warehouse: Warehouse,
    loaded: Loaded,
    errors: Mapping[tuple[Role, Location], float],
    rotations: Mapping[int, Rotation | None],
) -> None:
    """Store the model, SAEs and everything that is known from the weights alone, where not yet there.

    `errors` are the shares of variance that the SAEs miss, `rotations` what `Capture.verify` returns. Of the
    heads whose output SAE is replaced, everything that came from it is deleted first; all or nothing.
    """
    with warehouse.transaction():
        for at in loaded.replaced:
            warehouse.forget_output_features(at.layer, WHOLE_LAYER if at.head is None else at.head)
        if loaded.replaced:
            warehouse.outdate_derived()
        if not warehouse.rows("FROM model"):
            _store_model(warehouse, loaded.request, loaded.model, is_rotary=bool(rotations))
        _store_saes(warehouse, loaded, errors)
        _store_rotations(warehouse, rotations)
        digests.stamp_new(warehouse)


def _store_model(warehouse: Warehouse, request: Request, model: Model, *, is_rotary: bool) -> None:
    facts = {**model.facts(), "dtype": request.spec.dtype}
    if is_rotary:
        facts["positional_embedding"] = "rotary"
    warehouse.append("model", pa.Table.from_pylist([facts]))
    warehouse.append("corpus", pa.Table.from_pylist([_corpus_facts(request)]))
    warehouse.append("vocabulary", _vocabulary(model))


def _store_saes(warehouse: Warehouse, loaded: Loaded, errors: Mapping[tuple[Role, Location], float]) -> None:
    inputs = {sae.location.layer: sae for sae in loaded.saes if sae.role == "input"}
    held = set(warehouse.rows("SELECT role, layer, head FROM saes"))
    heads_held = set(warehouse.rows("SELECT layer, head FROM heads"))
    n_heads = loaded.model.n_heads
    for sae in loaded.saes:
        layer, head = sae.location.layer, sae.location.head
        if (sae.role, layer, head) in held:
            continue
        facts = {**sae.facts(), "sampled_reconstruction_error": errors[sae.role, sae.location]}
        warehouse.append("saes", pa.Table.from_pylist([facts]))
        if head is None:
            warehouse.append("input_features", _input_features(sae))
            if layer == 0:
                warehouse.append("feature_descriptions", embedding_descriptions(loaded.model, sae))
            continue
        for read in range(n_heads) if head == WHOLE_LAYER else (head,):
            if (layer, read) not in heads_held:
                _store_head(warehouse, loaded.model, inputs[layer], layer, read)
                heads_held.add((layer, read))
        warehouse.append("output_features", _output_features(sae, layer, head))
        for rows in _feature_heads(sae, layer, head, n_heads):
            warehouse.append("feature_heads", rows)


def _store_rotations(warehouse: Warehouse, rotations: Mapping[int, Rotation | None]) -> None:
    """Store the rotation of every stored head that lacks it: new ones, and those of an earlier version."""
    lacking = warehouse.rows(
        "FROM heads ANTI JOIN rotations USING (layer, head) SELECT layer, head ORDER BY ALL"
    )
    known = [(layer, head, rotation) for layer, head in lacking if (rotation := rotations.get(layer))]
    rows = [{"layer": layer, "head": head, **asdict(rotation)} for layer, head, rotation in known]
    if rows:
        schema = pa.schema(
            {
                "layer": pa.int16(),
                "head": pa.int16(),
                "frequencies": pa.list_(pa.float64()),
                "pairing": pa.string(),
                "magnitude": pa.float64(),
            }
        )
        warehouse.append("rotations", pa.Table.from_pylist(rows, schema))


def _vocabulary(model: Model) -> pa.Table:
    texts = model.vocabulary()
    partial = pa.array(model.token_bytes(), pa.string())
    return pa.table({"token_id": range(len(texts)), "token": texts, "token_bytes": partial})


def _corpus_facts(request: Request) -> dict[str, object]:
    spec = request.spec
    local = Path(spec.corpus.source)
    return {
        **asdict(spec.corpus),
        "source": local.name if local.exists() else spec.corpus.source,
        "min_attention": spec.min_attention,
        "resolved_commit": request.corpus_commit,
    }


def _input_features(sae: Sae) -> pa.Table:
    n = sae.d_sae
    return pa.table(
        {
            "layer": np.full(n, sae.location.layer, np.int16),
            "feature": np.arange(n, dtype=np.int32),
            "n_sequences": np.zeros(n, np.int32),
            "n_tokens": np.zeros(n, np.int64),
        }
    )


def _store_head(warehouse: Warehouse, model: Model, input_sae: Sae, layer: int, head: int) -> None:
    weights = model.head_weights(layer, head)
    projections = {"query": weights.W_Q, "key": weights.W_K, "value": weights.W_V}
    facts: dict[str, Any] = {
        "layer": np.array([layer], np.int16),
        "head": np.array([head], np.int16),
        "attn_scale": [weights.attn_scale],
    }
    for name in ("b_Q", "b_K", "b_V"):
        facts[name] = _vectors(getattr(weights, name)[None])
    for name, matrix in projections.items():
        facts[f"decoder_bias_{name}"] = _vectors((input_sae.weights.decoder_bias @ matrix)[None])
    warehouse.append("heads", pa.table(facts))
    n = input_sae.d_sae
    warehouse.append(
        "projections",
        pa.table(
            {
                "layer": np.full(n, layer, np.int16),
                "head": np.full(n, head, np.int16),
                "feature": np.arange(n, dtype=np.int32),
                **{f"{k}_vector": _vectors(input_sae.weights.decoder @ m) for k, m in projections.items()},
            }
        ),
    )


def _output_features(sae: Sae, layer: int, head: int) -> pa.Table:
    n = sae.d_sae
    # What a feature of a whole layer reads of each head is in feature_heads.
    encoder = {} if head == WHOLE_LAYER else {"encoder": _vectors(sae.weights.encoder.T)}
    return pa.table(
        {
            "layer": np.full(n, layer, np.int16),
            "head": np.full(n, head, np.int16),
            "feature": np.arange(n, dtype=np.int32),
            "n_sequences": np.zeros(n, np.int32),
            "n_tokens": np.zeros(n, np.int64),
            **encoder,
            "bias": sae.weights.bias.double().numpy(),
            "preactivation_bias": sae.weights.preactivation_bias.numpy(),
        }
    )


def _feature_heads(sae: Sae, layer: int, head: int, n_heads: int) -> Iterator[pa.Table]:
    """Yield rows of `feature_heads`, head after head."""
    encoder = sae.encoder_of_x()
    if head != WHOLE_LAYER:
        yield _read_of_head(encoder, layer, head, head, {"weight_share": 1.0, "data_share": 1.0})
        return
    norms = sae.head_norms(n_heads).numpy()
    total = norms.sum(axis=1)
    d_head = len(encoder) // n_heads
    for read in range(n_heads):
        share = pa.array(norms[:, read] / np.where(total > 0, total, 1), mask=total == 0)
        columns = {"weight_share": share, "total_contribution": 0.0}
        yield _read_of_head(encoder[read * d_head : (read + 1) * d_head], layer, head, read, columns)


def _read_of_head(encoder: Any, layer: int, head: int, read: int, columns: dict[str, Any]) -> pa.Table:
    """Return what features read of the head `read`: encoder [d_head, n]; a number of `columns` is of all."""
    n = encoder.shape[1]
    return pa.table(
        {
            "layer": np.full(n, layer, np.int16),
            "head": np.full(n, head, np.int16),
            "feature": np.arange(n, dtype=np.int32),
            "through_head": np.full(n, read, np.int16),
            "encoder": _vectors(encoder.T),
            **{name: np.full(n, x) if isinstance(x, float) else x for name, x in columns.items()},
        }
    )


def _vectors(matrix: Any) -> pa.FixedSizeListArray:
    """Return a torch matrix [n, d] as an Arrow array of n vectors of width d."""
    flat = pa.array(matrix.contiguous().numpy().reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, int(matrix.shape[1]))
