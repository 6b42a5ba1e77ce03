"""What a warehouse is held to: the corpus settings, the model and the SAEs that it was filled with.

Where anything else is given, it is refused by name: one warehouse holds one model, one corpus, one SAE of
each layer and head.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError
from attnrules.ingest.request import IngestSpec, Request
from attnrules.ingest.sources.corpus import changed_file as changed_file_of
from attnrules.ingest.sources.identity import differences
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.model import Model
from attnrules.ingest.sources.sae_weights import Role
from attnrules.ingest.sources.saes import Sae
from attnrules.warehouse import Warehouse
from attnrules.warehouse.inspect import dictionaries


def reconcile(warehouse: Warehouse, request: Request) -> Request:
    """Return the request as the warehouse, which is not new, reads the corpus.

    Where a version before schema 3 began, that is text files by line. Raises `AttnRulesError` naming the
    first option of the corpus that is not that of the warehouse.
    """
    if warehouse.value("SELECT lines IS NULL FROM corpus"):
        corpus = replace(request.spec.corpus, lines=True)
        request = replace(request, spec=replace(request.spec, corpus=corpus))
    _refuse_other_corpus(warehouse, request.spec)
    return request


def _refuse_other_corpus(warehouse: Warehouse, spec: IngestSpec) -> None:
    rows = warehouse.rows(
        "SELECT source, split, text_column, seq_len, keep_long_documents, lines,"
        " coalesce(special_tokens, 'token'), min_attention FROM corpus"
    )
    if not rows:
        return
    corpus = spec.corpus
    asked = (
        Path(corpus.source).name if Path(corpus.source).exists() else corpus.source,
        corpus.split,
        corpus.text_column,
        corpus.seq_len,
        corpus.keep_long_documents,
        corpus.lines,
        corpus.special_tokens,
        spec.min_attention,
    )
    options = (
        "--corpus", "--split", "--text-column", "--seq-len", "--keep-long-documents", "--lines",
        "--special-tokens", "--min-attention",
    )  # fmt: skip
    for option, held, wanted in zip(options, rows[0], asked, strict=True):
        # What an older version has not recorded is NULL.
        if held is not None and held != wanted:
            raise AttnRulesError(
                f"{warehouse.path}: was ingested with {option} {held}, not {wanted};"
                " use another file for other settings"
            )


def stored_files(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return the rows of `corpus_files`, in the order of reading."""
    return dictionaries(warehouse, "FROM corpus_files ORDER BY file_id")


def changed_file(warehouse: Warehouse, spec: IngestSpec) -> str | None:
    """Say how local files of the corpus differ from those that were read, by size and sha256; None if not.

    Raises `AttnRulesError` when the corpus cannot be read.
    """
    return changed_file_of(spec.corpus, stored_files(warehouse))


def refuse_other_model(warehouse: Warehouse, model: Model, spec: IngestSpec) -> None:
    """Raise `AttnRulesError` naming what of the model, or of its precision, is not that of the warehouse."""
    held = warehouse.rows("SELECT name, sha256, dtype, configuration, tokenizer FROM model")
    for name, sha256, dtype, configuration, tokenizer in held:
        if dtype != spec.dtype:
            raise AttnRulesError(
                f"{warehouse.path}: was ingested with --dtype {dtype}, not {spec.dtype};"
                " use another file for other settings"
            )
        if sha256 != model.sha256:
            raise AttnRulesError(
                f"{warehouse.path}: holds the model {name} (weights {sha256[:12]}), not {model.name}"
                f" (weights {model.sha256[:12]}); one warehouse holds one model, use another file"
            )
        for what, before, after in (
            ("configuration", configuration, model.configuration),
            ("tokenizer", tokenizer, model.tokenizer),
        ):
            if apart := differences(before, after):
                raise AttnRulesError(
                    f"{warehouse.path}: holds the model {name}; {model.name} has the same weights, but its"
                    f" {what} says {'; '.join(apart[:4])}; use another file"
                )


def refuse_other_processing(warehouse: Warehouse, model: Model) -> None:
    """Raise `AttnRulesError` when the warehouse holds activations of the model processed otherwise."""
    held = warehouse.value("SELECT any_value(processing) FROM model")
    if model.can_centre and held not in (None, model.processing):
        raise AttnRulesError(
            f"{warehouse.path}: holds activations of the model with {held}, but these input SAEs were trained"
            f" with {model.processing}; use another file"
        )


def recorded_source(warehouse: Warehouse, role: Role, at: Location) -> str | None:
    """Return where the stored SAE at a location came from, None where the warehouse holds none."""
    source: str | None = warehouse.value(
        "SELECT source FROM saes WHERE role = $role AND layer = $layer AND head IS NOT DISTINCT FROM $head",
        {"role": role, "layer": at.layer, "head": at.head},
    )
    return source


def recorded_id(warehouse: Warehouse, role: Role, source: str) -> str | None:
    """Return the template of ids with which SAEs of a source were last ingested, None for none."""
    template: str | None = warehouse.value(
        "SELECT arguments ->> $id AS template FROM runs"
        " WHERE command = 'ingest' AND (arguments ->> $name) = $source ORDER BY run_id DESC LIMIT 1",
        {"id": f"$.{role}_sae_id", "name": f"$.{role}_sae", "source": source},
    )
    return template


def differing_saes(warehouse: Warehouse, saes: list[Sae], spec: IngestSpec) -> list[Location]:
    """Return where the stored output SAE is to be replaced.

    Raises `AttnRulesError` naming any other SAE whose weights or configuration are not those of the
    warehouse.
    """
    held = {
        (role, Location(layer, head)): facts
        for role, layer, head, *facts in warehouse.rows(
            "SELECT role, layer, head, source, sha256, configuration FROM saes"
        )
    }
    replaced = []
    for sae in saes:
        source, sha256, configuration = held.get((sae.role, sae.location), (None, sae.sha256, None))
        apart = differences(configuration, sae.configuration)
        if sha256 == sae.sha256 and not apart:
            continue
        if sae.role == "input" or not spec.replace_output_saes:
            raise _other_sae(warehouse, sae, source, sha256, apart)
        replaced.append(sae.location)
    return replaced


def _other_sae(
    warehouse: Warehouse, sae: Sae, source: str | None, sha256: str, apart: list[str]
) -> AttnRulesError:
    remedy = " or give --replace-output-sae" if sae.role == "output" else ""
    if sha256 != sae.sha256:
        how = f"(weights {sha256[:12]}), not the one in {sae.source} (weights {sae.sha256[:12]})"
    else:
        how = f"; the one in {sae.source} has the same weights, but {'; '.join(apart[:4])}"
    return AttnRulesError(
        f"{warehouse.path}: holds the {sae.role} SAE of {sae.location} from {source} {how};"
        f" use another file{remedy}"
    )
