"""What a user should know of an ingest that is no reason to refuse it, each in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attnrules.ingest.capture.rotation import Rotation
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.model import Model
from attnrules.ingest.sources.sae_source import SaeSource
from attnrules.ingest.sources.sae_weights import Role
from attnrules.ingest.sources.saes import Sae
from attnrules.warehouse import POOR_CAUSES, POOR_RECONSTRUCTION, Warehouse, n_mined_features


def of_mined(warehouse: Warehouse, n_before: int, n_sequences: int) -> list[str]:
    """Say of how many features was mined what is of the sequences of before, where some were added."""
    n_features = n_mined_features(warehouse)
    if n_sequences == n_before or not n_features:
        return []
    return [
        f"what was mined and tested of {n_features:,} features stays as it was on {n_before:,} of the"
        f" {n_sequences:,} sequences; mine and test them again for figures of all"
    ]


def of_names(model: Model, *sources: SaeSource) -> list[str]:
    """Say which SAE sources name another model in their configurations."""

    def plain(name: str) -> str:
        last = re.sub(r"(\.\w+)?\.gguf$", "", name.rstrip("/").split("/")[-1])
        return last.removesuffix("-small")

    return [
        f"{source.role} SAE {source.name}: its configuration names the model"
        f" {', '.join(sorted(source.model_names))}; used with {model.name}"
        for source in sources
        if source.model_names and plain(model.name) not in set(map(plain, source.model_names))
    ]


def of_training(saes: list[Sae], seq_len: int) -> list[str]:
    """Say where rows of `seq_len` tokens differ from what the SAEs say they were trained on."""
    warnings = []
    for role in ("input", "output"):
        own = [sae for sae in saes if sae.role == role]
        short = [sae for sae in own if sae.declared.context_size and sae.declared.context_size < seq_len]
        if short:
            warnings.append(
                f"{role} SAE of {short[0].location} in {short[0].source}: was trained on contexts of"
                f" {short[0].declared.context_size} tokens; it has seen no later position of {seq_len}"
            )
        bare = [sae for sae in own if not sae.declared.prepend_bos]
        if bare:
            warnings.append(
                f"{role} SAE of {bare[0].location} in {bare[0].source}: was trained on sequences without BOS,"
                " and every row here begins with it"
            )
        ignored = sorted({word for sae in own for word in sae.declared.ignored})
        if ignored:
            warnings.append(
                f"{role} SAE {own[0].source}: was trained on a model loaded with {', '.join(ignored)[:200]},"
                " which is not done here"
            )
    return warnings


def of_reconstructions(errors: Mapping[tuple[Role, Location], float]) -> list[str]:
    """Say of each role which SAEs rebuild next to nothing: `errors` are shares of the variance missed."""
    warnings = []
    for role in ("input", "output"):
        poor = {
            at: error for (of, at), error in errors.items() if of == role and error >= POOR_RECONSTRUCTION
        }
        if poor:
            worst = max(poor, key=lambda at: poor[at])
            warnings.append(
                f"{len(poor)} {role} SAE{'s' if len(poor) > 1 else ''} rebuild next to nothing of what they"
                f" read (worst {worst}: {poor[worst]:.2f} of the variance is missed); {POOR_CAUSES}"
            )
    return warnings


def of_rotations(model: Model, rotations: Mapping[int, Rotation | None]) -> list[str]:
    """Say in which layers the logits are not those of the weights and of a rotation by the distance."""
    unknown = [layer for layer, rotation in rotations.items() if rotation is None]
    if not unknown:
        return []
    layers = ", ".join(map(str, unknown))
    return [
        f"model {model.name}: the attention of layer{'s' if len(unknown) > 1 else ''} {layers} is not that of"
        " W_Q, W_K and a rotation by the distance (it may normalise queries and keys), so that S(i,j) is not"
        " known: magnitude, importance, absence and counting rules are refused there, the methods called"
        " weighted are as good as ever"
    ]


def of_special_tokens(warehouse: Warehouse, names: Mapping[int, str]) -> list[str]:
    """Say which special tokens, of these ids and names, the documents themselves have brought."""
    counted = warehouse.rows(
        "SELECT token_id, count(*) FROM main.tokens WHERE pos > 0 AND list_contains($ids, token_id)"
        " GROUP BY token_id ORDER BY token_id",
        {"ids": sorted(names)},
    )
    listed = ", ".join(f"{names[token_id]} {n:,} times" for token_id, n in counted)
    if not counted:
        return []
    return [
        f"the text of special tokens occurs in documents and was read as these tokens: {listed}; in a new"
        " warehouse --special-tokens text reads it as text"
    ]


def of_unrecorded(warehouse: Warehouse) -> list[str]:
    """Say where a warehouse does not know the configurations of its model or SAEs."""
    unknown = warehouse.value(
        "SELECT (SELECT count(*) FROM model WHERE configuration IS NULL)"
        " + (SELECT count(*) FROM saes WHERE configuration IS NULL)"
    )
    if not unknown:
        return []
    return [
        f"{warehouse.path}: an earlier version did not record how its model and SAEs are configured; they"
        " were compared by their weights alone"
    ]
