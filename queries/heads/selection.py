"""What a mining command works on: heads and features that the user chose, of an ingest that is finished."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnrules.errors import AttnRulesError, UsageError
from attnrules.queries.arrays import Ints
from attnrules.sql import WHOLE_LAYER, Statements, head_name

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "heads")


@dataclass(frozen=True, order=True)
class FeatureId:
    """An output feature, written L0H3.17; of the SAE over a whole layer (head -1) L0.17."""

    layer: int
    head: int
    feature: int

    def __str__(self) -> str:
        return f"{head_name(self.layer, self.head)}.{self.feature}"


def parse_feature(text: str) -> FeatureId:
    """Read `L0H3.17` or, of the SAE over a whole layer, `L0.17`; raises `UsageError` for anything else."""
    match = re.fullmatch(r"L([0-9]{1,9})(?:H([0-9]{1,9}))?\.([0-9]{1,9})", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(
            f"{text!r}: not a feature; write L<layer>H<head>.<feature>, such as L0H3.17, or of an SAE over a"
            " whole layer L<layer>.<feature>"
        )
    layer, head, feature = match.groups()
    return FeatureId(int(layer), WHOLE_LAYER if head is None else int(head), int(feature))


@dataclass(frozen=True, order=True)
class HeadId:
    """A head, written L0H3."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"


def parse_head(text: str) -> HeadId | None:
    """Read `L0H3`; None for anything else."""
    match = re.fullmatch(r"L([0-9]{1,4})H([0-9]{1,4})", text.strip(), re.IGNORECASE)
    return None if match is None else HeadId(int(match[1]), int(match[2]))


def finished_sequences(warehouse: Warehouse) -> int:
    """Return the number of sequences; raises `AttnRulesError` when the ingest is missing or unfinished."""
    n_sequences = int(warehouse.value("SELECT coalesce(sum(n_seqs), 0) FROM chunks"))
    if n_sequences == 0:
        raise AttnRulesError(f"{warehouse.path}: holds no sequences; run `attnrules ingest` first")
    if warehouse.value("SELECT count(*) FROM heads WHERE kept_attention_mass IS NULL"):
        raise AttnRulesError(
            f"{warehouse.path}: its ingest is not finished; run the same `attnrules ingest` again"
        )
    return n_sequences


def output_heads(warehouse: Warehouse) -> list[tuple[int, int]]:
    """Return (layer, head) of every output SAE, in order; head `WHOLE_LAYER` for one over a whole layer."""
    return warehouse.rows(step("output_heads"))


def refuse_unknown_feature(warehouse: Warehouse, feature: FeatureId) -> None:
    """Raise `UsageError` for an output feature that the warehouse does not hold."""
    if warehouse.rows(step("known_feature"), asdict(feature)):
        return
    heads, of = output_heads(warehouse), head_name(feature.layer, feature.head)
    if (feature.layer, feature.head) in heads:
        raise UsageError(f"{feature}: {of} has no such feature")
    raise UsageError(f"{feature}: not in this warehouse, which holds {_features_of(heads)}")


def refuse_unknown_head(warehouse: Warehouse, layer: int | None, head: int | None) -> None:
    """Raise `UsageError` for a head, or layer, that the warehouse does not hold; None stands for any.

    Head `WHOLE_LAYER` is held where the output SAE of a layer reads all of its heads.
    """
    stored = warehouse.rows(step("known_heads"))
    if any(layer in (None, at[0]) and head in (None, at[1]) for at in stored):
        return
    one = f"layer {layer}" if layer is not None else f"head {head}"
    name = one if layer is None or head is None else head_name(layer, head)
    names = ", ".join(head_name(*at) for at in stored) or "no heads; run `attnrules ingest`"
    raise UsageError(f"{name}: not in this warehouse, which holds {names}")


def _features_of(heads: list[tuple[int, int]]) -> str:
    names = ", ".join(head_name(*of) for of in heads)
    return f"the features of {names}" if names else "no output features; run `attnrules ingest`"


def choose_heads(
    warehouse: Warehouse,
    layers: tuple[int, ...] | None,
    heads: tuple[int, ...] | None,
    features: tuple[FeatureId, ...],
) -> list[tuple[int, int]]:
    """Return the (layer, head) pairs asked for, all for None; those of `features` where there are any.

    An SAE over a whole layer (head `WHOLE_LAYER`) is left out only where it reads none of `heads`. Raises
    `UsageError` for what is not in the warehouse, and where `layers` or `heads` leave out one of `features`.
    """
    stored = output_heads(warehouse)
    names = ", ".join(head_name(*at) for at in stored)
    read = {at: through_heads(warehouse, *at) for at in stored}
    if features:
        wanted = sorted({(f.layer, f.head) for f in features})
        for layer, head in wanted:
            if (layer, head) not in stored:
                raise UsageError(f"{head_name(layer, head)}: not in this warehouse, which holds {names}")
            _refuse_left_out(layer, head, layers, heads)
            searched_heads(warehouse, layer, head, heads)
        return wanted
    for option, values, present in (
        ("--layers", layers, {layer for layer, _ in stored}),
        ("--heads", heads, {head for through in read.values() for head in through}),
    ):
        for value in values or ():
            if value not in present:
                raise UsageError(f"{option} {value}: not in this warehouse, which holds {names}")
    return [
        (layer, head)
        for layer, head in stored
        if (layers is None or layer in layers) and (heads is None or set(heads) & set(read[layer, head]))
    ]


def _refuse_left_out(
    layer: int, head: int, layers: tuple[int, ...] | None, heads: tuple[int, ...] | None
) -> None:
    for option, value, chosen in (("--layers", layer, layers), ("--heads", head, heads)):
        if value != WHOLE_LAYER and chosen is not None and value not in chosen:
            numbers, name = ", ".join(map(str, chosen)), head_name(layer, head)
            raise UsageError(
                f"{option} {numbers}: leaves out {name}, which --features names; leave out one of both"
            )


def through_heads(warehouse: Warehouse, layer: int, head: int) -> tuple[int, ...]:
    """Return the heads that an output SAE reads, ascending: all of a layer for head `WHOLE_LAYER`."""
    return tuple(h for (h,) in warehouse.rows(step("through_heads"), {"layer": layer, "head": head}))


def searched_heads(
    warehouse: Warehouse, layer: int, head: int, heads: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Return the heads through which rules of an output SAE are sought: those that it reads, of `heads`.

    `heads` restricts an SAE over a whole layer alone; None for all. Raises `UsageError` where it reads none.
    """
    read = through_heads(warehouse, layer, head)
    if head != WHOLE_LAYER or heads is None:
        return read
    found = tuple(sorted(set(heads) & set(read)))
    if not found:
        asked, names = (", ".join(map(str, some)) for some in (heads, read))
        raise UsageError(f"--heads {asked}: the SAE of {head_name(layer, head)} reads heads {names}")
    return found


def feature_counts(warehouse: Warehouse, layer: int, head: int, seed: int) -> list[tuple[int, int]]:
    """Return (feature, sequences it is active in) of every feature of a head, in the order they are drawn."""
    return warehouse.rows(step("feature_counts"), {"layer": layer, "head": head, "seed": seed})


def features_of(
    warehouse: Warehouse,
    layer: int,
    head: int,
    n_features: int | None,
    features: tuple[FeatureId, ...],
    seed: int,
) -> Ints:
    """Return output features of a head in order of id: `features` of it, `n_features` drawn, or all.

    Raises `UsageError` for a feature that the head does not have.
    """
    counts = feature_counts(warehouse, layer, head, seed)
    wanted = [f for f in features if (f.layer, f.head) == (layer, head)]
    for f in wanted:
        if f.feature >= len(counts):
            raise UsageError(f"{f}: {head_name(layer, head)} has features 0 to {len(counts) - 1}")
    if wanted:
        return np.array(sorted({f.feature for f in wanted}), dtype=np.int64)
    return np.array(sorted(feature for feature, _ in counts[:n_features]), dtype=np.int64)


def live_features(warehouse: Warehouse, layer: int, *, bos_keys: bool) -> Ints:
    """Return the input features of a layer that fire after BOS, or all of them with `bos_keys`."""
    rows = warehouse.rows(step("live_features"), {"layer": layer, "bos_keys": bos_keys})
    return np.array([feature for (feature,) in rows], dtype=np.int64)
