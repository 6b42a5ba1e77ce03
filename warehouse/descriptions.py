"""Descriptions of input features from an export file of Neuronpedia."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from attnrules.errors import AttnRulesError, UsageError
from attnrules.warehouse.records import broken_text, json_values
from attnrules.warehouse.store import Warehouse


@dataclass(frozen=True)
class Explanation:
    """One explanation of an export: of a feature of a source set such as 0-res-jb."""

    model: str
    source_set: str
    feature: int
    text: str
    explained_by: str

    @property
    def source(self) -> str:
        """Who says so, as `feature_descriptions.source`."""
        where = "/".join(part for part in (self.model, self.source_set) if part)
        return ", ".join(part for part in (f"Neuronpedia {where}".strip(), self.explained_by) if part)


@dataclass
class ImportResult:
    """Descriptions imported, by layer; records without a description; model names in the file."""

    n_by_layer: dict[int, int] = field(default_factory=dict)
    n_empty: int = 0
    models: set[str] = field(default_factory=set)


def import_descriptions(
    warehouse: Warehouse, file: Path, *, layer: int | None = None, source_set: str | None = None
) -> ImportResult:
    """Store the explanations of `file` as descriptions of input features.

    The file is json, jsonl, or either gzipped: records with `index`, `description`, and where there are
    any `modelId`, `layer` (such as 0-res-jb), `explanationModelName`, `typeName`; or features with a list
    `explanations` of such. `layer` gives the layer where the records do not, or else takes that one only;
    `source_set` takes the records of one source set. What an earlier import from the same source said of a
    layer is replaced. Raises `AttnRulesError` when the file is malformed, names features or layers that the
    warehouse does not hold, or mixes source sets of one layer; nothing is stored then.
    """
    widths = dict(warehouse.rows("SELECT layer, d_sae FROM saes WHERE role = 'input'"))
    result = ImportResult()
    by_layer: dict[int, list[Explanation]] = {}
    for explanation in _explanations(file):
        if source_set is not None and explanation.source_set != source_set:
            continue
        at = _layer(file, explanation, layer)
        if at is None:
            continue
        if not explanation.text:
            result.n_empty += 1
            continue
        by_layer.setdefault(at, []).append(explanation)
        result.models |= {explanation.model} - {""}
    if not by_layer:
        raise AttnRulesError(f"{file}: holds no description that was asked for")
    for at, found in by_layer.items():
        _refuse_misfits(file, at, found, widths)
    with warehouse.run("import-descriptions", {"file": file.name, "layer": layer, "source_set": source_set}):
        for at, found in sorted(by_layer.items()):
            warehouse.replace_descriptions(at, _table(at, found))
            result.n_by_layer[at] = len(found)
    return result


def _layer(file: Path, explanation: Explanation, asked: int | None) -> int | None:
    """Return the layer of an explanation, None when another one was asked for."""
    match = re.match(r"(\d+)(?:-|$)", explanation.source_set)
    if match is None:
        if asked is None:
            raise UsageError(f"{file}: its records name no layer; give it with --layer")
        return asked
    at = int(match[1])
    return at if asked in (None, at) else None


def _refuse_misfits(file: Path, layer: int, found: list[Explanation], widths: dict[int, int]) -> None:
    if layer not in widths:
        held = ", ".join(map(str, sorted(widths))) or "none"
        raise AttnRulesError(
            f"{file}: describes layer {layer}, the warehouse holds input features of layers {held}; take one"
            " of these with --layer"
        )
    sets = sorted({explanation.source_set for explanation in found})
    if len(sets) > 1:
        raise AttnRulesError(
            f"{file}: holds several source sets of layer {layer}: {', '.join(sets)}; name the one of your"
            " SAE with --source-set"
        )
    largest = max(explanation.feature for explanation in found)
    if largest >= widths[layer]:
        raise AttnRulesError(
            f"{file}: describes feature {largest} of layer {layer}, whose SAE has {widths[layer]} features;"
            " is the file of another SAE?"
        )


def _table(layer: int, found: list[Explanation]) -> pa.Table:
    rows = dict.fromkeys((e.feature, e.text, e.source) for e in found)
    return pa.table(
        {
            "role": ["input"] * len(rows),
            "layer": pa.array([layer] * len(rows), pa.int16()),
            "feature": pa.array([feature for feature, _, _ in rows], pa.int32()),
            "kind": ["imported"] * len(rows),
            "description": [text for _, text, _ in rows],
            "source": [source for _, _, source in rows],
        }
    )


def _explanations(file: Path) -> Iterator[Explanation]:
    for record in _records(file):
        inner = record.get("explanations")
        for explanation in inner if isinstance(inner, list) else [record]:
            if not isinstance(explanation, dict):
                raise AttnRulesError(f"{file}: an explanation in it is not an object")
            yield _explanation(file, {**record, **explanation})


def _explanation(file: Path, record: dict[str, Any]) -> Explanation:
    index = str(record.get("index", ""))
    if not index.isdigit():
        raise AttnRulesError(
            f"{file}: a record has no feature number in `index`; expected a Neuronpedia export with index and"
            " description"
        )
    by = (record.get("explanationModelName"), record.get("typeName"))
    found = Explanation(
        model=str(record.get("modelId") or ""),
        source_set=str(record.get("layer") or record.get("saeId") or ""),
        feature=int(index),
        text=str(record.get("description") or "").strip(),
        explained_by=", ".join(str(part) for part in by if part),
    )
    if broken := broken_text(f"{found.source} {found.text}"):
        raise AttnRulesError(f"{file}: the text of feature {index} {broken}")
    return found


def _records(file: Path) -> Iterator[dict[str, Any]]:
    for value in _values(file):
        if not isinstance(value, dict):
            raise AttnRulesError(f"{file}: holds something other than objects")
        yield value


def _values(file: Path) -> Iterator[Any]:
    if not file.is_file():
        raise AttnRulesError(f"{file}: no such file")
    try:
        yield from json_values(file)
    except (OSError, ValueError, AttnRulesError) as error:
        raise AttnRulesError(f"{file}: is neither json nor jsonl: {error}") from error
