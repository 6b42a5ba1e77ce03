"""Models and SAEs in words: how they are configured, and which they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def configured(sae: Mapping[str, Any]) -> str:
    """Word how an SAE is configured, where it is not as most are: topk, k 16, in units of decoder norms."""
    words = [str(sae["architecture"])]
    configuration = json.loads(sae["configuration"] or "{}")
    if configuration.get("k") is not None:
        words.append(f"k {configuration['k']}")
    if configuration.get("rescale_acts_by_decoder_norm"):
        words.append("in units of decoder norms")
    if configuration.get("apply_b_dec_to_input") is False:
        words.append("inputs not centred")
    centred, folded = (
        configuration.get(key, True) for key in ("reads_centred_weights", "reads_folded_value_biases")
    )
    if not (centred if sae["role"] == "input" else folded):
        words.append("trained on the unprocessed model")
    return ", ".join(words)


def identified(row: Mapping[str, Any]) -> str:
    """Word the identity of a model or an SAE, or that only its weights are known."""
    if row["identity"] is None:
        return f"weights {row['sha256'][:12]}, configuration not recorded"
    return f"identity {row['identity'][:12]}"
