"""Rows of what output features do to the logits: of the unembedding, of each feature, of its first tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from attnrules.errors import AttnRulesError
from attnrules.ingest.capture.forward import read_end, read_final_scales
from attnrules.ingest.loading import Loaded
from attnrules.ingest.output_effects import Effects, directions, token_effects
from attnrules.ingest.sources.model import Model
from attnrules.ingest.sources.saes import Sae
from attnrules.warehouse import WHOLE_LAYER, Warehouse, digests

if TYPE_CHECKING:
    from torch import Tensor

    from attnrules.ingest.capture.flow import Tokens

# Tokens kept of each side where the user names no number.
N_KEPT = 20
USABLE = "usable"
# Directions that mean nothing, and the share of them that a kurtosis must exceed to mean something.
_RANDOM_DIRECTIONS, _RANDOM_SHARE = 1024, 0.99
# Logits of no more rows and positions are compared with what the unembedding gives.
_COMPARED_ROWS, _COMPARED_POSITIONS = 8, 16
_TOLERANCE = 1e-3


def saes_without_tokens(warehouse: Warehouse, loaded: Loaded) -> list[Sae]:
    """Return the output SAEs whose tokens are not stored, or are in another number than is asked for.

    None where the model has no usable unembedding.
    """
    if warehouse.rows("SELECT 1 FROM unembedding WHERE status <> $usable", {"usable": USABLE}):
        return []
    wanted = loaded.request.spec.n_output_tokens
    kept = {
        (layer, head): n_kept
        for layer, head, n_kept in warehouse.rows("SELECT DISTINCT layer, head, n_kept FROM output_effects")
    }
    return [
        sae
        for sae in loaded.saes
        if sae.role == "output" and (_place(sae) not in kept or wanted not in (None, kept[_place(sae)]))
    ]


def store_output_tokens(warehouse: Warehouse, loaded: Loaded, saes: list[Sae], sample: Tokens) -> None:
    """Store what the features of output SAEs do to the logits, in place of what was stored; all or nothing.

    `sample` [n, seq_len] are rows of the corpus, on which the final norm is measured.
    """
    with warehouse.transaction():
        status = warehouse.value("SELECT status FROM unembedding")
        if status is None:
            facts = unembedding_facts(loaded.model, sample)
            warehouse.append("unembedding", pa.Table.from_pylist([facts]))
            digests.restamp(warehouse, "unembedding")
            status = facts["status"]
        if status == USABLE:
            for sae in saes:
                _store(warehouse, loaded, sae)


def _place(sae: Sae) -> tuple[int, int]:
    head = sae.location.head
    return sae.location.layer, WHOLE_LAYER if head is None else head


def unembedding_facts(model: Model, sample: Tokens) -> dict[str, Any]:
    """Return the row of the table `unembedding`; `sample` [n, seq_len] are rows of token ids."""
    import torch

    rows = torch.as_tensor(sample, device=model.device)
    reason = _reason_against(model, rows)
    if reason is not None:
        return {"status": reason}
    scales = read_final_scales(model, rows)[:, 1:]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(_RANDOM_DIRECTIONS, model.d_model, generator=generator)
    random = token_effects(
        lambda start, stop: drawn[start:stop], len(drawn), unembedding(model), 1, centred=model.can_centre
    )
    # Not where W_U is 0: no direction has an effect, and NaN is not stored.
    known = random.kurtosis[~np.isnan(random.kurtosis)]
    return {
        "status": USABLE,
        "n_tokens": unembedding(model).shape[1],
        "logit_soft_cap": model.logit_soft_cap,
        "final_scale": float(scales.double().mean()),
        "n_positions": scales.numel(),
        "random_kurtosis": float(np.quantile(known, _RANDOM_SHARE)) if len(known) else None,
    }


def unembedding(model: Model) -> Tensor:
    """Return W_U of the tokens that the tokenizer knows: [d_model, n_tokens], the final norm folded in."""
    # Moments are summed in float64, which only the CPU and CUDA have.
    W_U: Tensor = model.bridge.W_U.detach()[:, : model.n_tokens].float()
    return W_U if model.device.type == "cuda" else W_U.cpu()


def _reason_against(model: Model, rows: Tensor) -> str | None:
    """Say why the logits are no product of the normalised stream and W_U, None where they are."""
    import torch

    lacking = [h for h in ("ln_final.hook_scale", "unembed.hook_in") if h not in model.bridge.hook_dict]
    if lacking:
        return f"{model.name} does not expose {' and '.join(lacking)}"
    try:
        for layer in range(model.n_layers):
            model.gain_behind_attention(layer)
        W_U = model.bridge.W_U.detach().float()
    except AttnRulesError as error:
        return str(error)
    except (AttributeError, IndexError, TypeError):
        return f"{model.name} has no unembedding W_U"
    rows = rows[:_COMPARED_ROWS, :_COMPARED_POSITIONS]
    last = torch.full((len(rows),), rows.shape[1] - 1, device=rows.device)
    end = read_end(model, rows, last)
    expected = end.normalized @ W_U
    bias = getattr(model.bridge, "b_U", None)
    expected = expected if bias is None else expected + bias.detach().float()
    if (cap := model.logit_soft_cap) is not None:
        expected = cap * torch.tanh(expected / cap)
    # Softmax does not see what all tokens share.
    apart = (expected - expected.mean(dim=1, keepdim=True)) - (
        end.logits - end.logits.mean(dim=1, keepdim=True)
    )
    if float(apart.abs().max()) > _TOLERANCE * (1 + float(end.logits.abs().max())):
        return f"the logits of {model.name} are not its normalised residual stream times its unembedding W_U"
    return None


def _store(warehouse: Warehouse, loaded: Loaded, sae: Sae) -> None:
    model, (layer, head) = loaded.model, _place(sae)
    n_kept = loaded.request.spec.n_output_tokens or N_KEPT
    effects = token_effects(
        directions(model, sae), sae.d_sae, unembedding(model), n_kept, centred=model.can_centre
    )
    warehouse.replace_of_head("output_effects", layer, head, _effect_rows(sae, effects, n_kept))
    warehouse.replace_of_head("output_tokens", layer, head, _token_rows(sae, effects))
    warehouse.renew_right_sides(layer, head)


def _effect_rows(sae: Sae, effects: Effects, n_kept: int) -> pa.Table:
    return pa.table(
        {
            **_places(sae, np.arange(sae.d_sae)),
            "n_kept": np.full(sae.d_sae, n_kept, np.int32),
            "write_norm": effects.write_norm,
            "deviation": effects.deviation,
            "kurtosis": pa.array(effects.kurtosis, mask=np.isnan(effects.kurtosis)),
        }
    )


def _token_rows(sae: Sae, effects: Effects) -> pa.Table:
    sides = {"promoted": effects.promoted, "suppressed": effects.suppressed}
    return pa.concat_tables(
        pa.table(
            {
                **_places(sae, of_side.feature),
                "side": [side] * len(of_side.feature),
                "rank": of_side.rank.astype(np.int32),
                "token_id": of_side.token.astype(np.int32),
                "effect": of_side.effect,
            }
        )
        for side, of_side in sides.items()
    )


def _places(sae: Sae, features: Any) -> dict[str, Any]:
    n = len(features)
    return {
        "layer": np.full(n, _place(sae)[0], np.int16),
        "head": np.full(n, _place(sae)[1], np.int16),
        "feature": features.astype(np.int32),
    }
