"""Descriptions of layer 0's input features from the embeddings alone (method.md section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from attnrules.ingest.capture.forward import read_stream
from attnrules.ingest.sources.model import Model
from attnrules.ingest.sources.saes import Sae

if TYPE_CHECKING:
    from torch import Tensor

_NAMED = 4
# Scores held at once, in floats (256 MB).
_SCORES = 1 << 26
# Tokens that W_E is tried on, and tokens run at once where it is not what enters layer 0.
_PROBED, _AT_ONCE = 16, 4096
_TOLERANCE = 1e-4
_ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})


def embedding_descriptions(model: Model, sae: Sae) -> pa.Table:
    """Return rows of `feature_descriptions`: the tokens and positions that excite each feature most.

    The score of a token or position is what it adds to the stream, its row of W_E or W_pos, times the
    feature's column of W_enc; a feature that nothing excites has no row. Rotary models have no position rows.
    """
    import torch

    positions, names = position_rows(model), None
    rows = torch.cat([token_rows(model), *([] if positions is None else [positions])])
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


def token_rows(model: Model) -> Tensor:
    """Return what each token of the tokenizer adds to the stream entering layer 0: [n_tokens, d_model].

    W_E, unless the model scales, projects or normalises its embeddings first: then it is read off the model.
    """
    import torch

    rows: Tensor = model.bridge.W_E.detach()[: model.n_tokens].float()
    probed = torch.linspace(0, len(rows) - 1, min(_PROBED, len(rows))).long().to(rows.device)
    entering = _entering(model, probed)
    if rows.shape[1:] == entering.shape[1:]:
        apart = (entering - rows[probed]).abs().max()
        if float(apart) <= _TOLERANCE * float(entering.abs().max()):
            return rows
    ids = torch.arange(len(rows), device=rows.device)
    return torch.cat([_entering(model, part) for part in torch.split(ids, _AT_ONCE)])


def _entering(model: Model, ids: Tensor) -> Tensor:
    """Return what enters layer 0 where each token stands first, less the row of that position."""
    found = read_stream(model, ids[:, None].to(model.device))[:, 0]
    positions = position_rows(model)
    return found if positions is None else found - positions[0]


def position_rows(model: Model) -> Tensor | None:
    """Return what each position adds: [n_ctx, d_model], None where positions are no rows of W_pos."""
    rows = getattr(getattr(model.bridge, "pos_embed", None), "W_pos", None)
    # Some models keep rows for padding in front.
    return None if rows is None else rows.detach().float()[-model.n_ctx :]


def _names(model: Model, n_rows: int) -> list[str]:
    names = [f"'{token.translate(_ESCAPES)}'" for token in model.vocabulary()]
    return names + [f"position {i}" for i in range(n_rows - len(names))]
