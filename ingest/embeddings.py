"""Descriptions of layer 0's input features from the embeddings alone (method.md section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from attnrules.ingest.sources.model import Model
from attnrules.ingest.sources.saes import Sae

if TYPE_CHECKING:
    from torch import Tensor

_NAMED = 4
# Scores held at once, in floats (256 MB).
_SCORES = 1 << 26
_ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})


def embedding_descriptions(model: Model, sae: Sae) -> pa.Table:
    """Return rows of `feature_descriptions`: the tokens and positions that excite each feature most.

    The score of a token or position is its row of W_E or W_pos times the feature's column of W_enc; a
    feature that nothing excites has no row. Rotary models have no position rows.
    """
    import torch

    rows, names = _embedding_rows(model), None
    descriptions: dict[int, str] = {}
    step = max(1, _SCORES // len(rows))
    for start in range(0, sae.d_sae, step):
        encoder = sae.weights.encoder[:, start : start + step].to(rows.device)
        scores, places = torch.topk(rows @ encoder, min(_NAMED, len(rows)), dim=0)
        names = names or _names(model, len(rows))
        for offset, (values, at) in enumerate(zip(scores.T.tolist(), places.T.tolist(), strict=True)):
            parts = [f"{names[i]} {value:.1f}" for value, i in zip(values, at, strict=True) if value > 0]
            if parts:
                descriptions[start + offset] = ", ".join(parts)
    n = len(descriptions)
    return pa.table(
        {
            "role": ["input"] * n,
            "layer": pa.array([sae.location.layer] * n, pa.int16()),
            "feature": pa.array(list(descriptions), pa.int32()),
            "kind": ["embedding"] * n,
            "description": list(descriptions.values()),
            "source": ["W_E and W_pos rows times W_enc"] * n,
        }
    )


def _embedding_rows(model: Model) -> Tensor:
    """Return the rows [vocabulary + positions, d_model] that the residual stream at layer 0 is the sum of."""
    import torch

    bridge = model.bridge
    tokens: Tensor = bridge.W_E.detach().float()
    positions = getattr(getattr(bridge, "pos_embed", None), "W_pos", None)
    if positions is None:
        return tokens
    # Some models keep rows for padding in front.
    return torch.cat([tokens, positions.detach().float().to(tokens.device)[-model.n_ctx :]])


def _names(model: Model, n_rows: int) -> list[str]:
    names = [f"'{token.translate(_ESCAPES)}'" for token in model.vocabulary()]
    names += [f"token {i}" for i in range(len(names), model.vocab_size)]
    return names + [f"position {i}" for i in range(n_rows - model.vocab_size)]
