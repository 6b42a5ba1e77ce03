"""Everything that decides a number in a warehouse, gathered for a methods section."""

from __future__ import annotations

import json
from typing import Any

from attnrules.warehouse.inspect import dictionaries
from attnrules.warehouse.store import Warehouse

# An SAE that misses more of the variance does not fit what it reads.
POOR_RECONSTRUCTION = 0.9
POOR_CAUSES = (
    "usual causes: it was trained on another model or checkpoint, at another layer or hook, on a model"
    " processed otherwise, or with an activation function or scale that its configuration does not say"
)


def describe(warehouse: Warehouse) -> dict[str, Any]:
    """Return the provenance of a warehouse as plain values.

    Keys: `schema_version`, `model`, `corpus` (with `n_sequences`, `n_tokens`, the text of the BOS token,
    `bos_token`, and the `files` that were read), `saes`, `poor_reconstruction` (the error from which on an
    SAE does not fit, and the usual causes), `heads` (with the attention that is kept of each), `attention`
    (the same in sum), `rules` (features and rules by method and scaling), `runs` (every run, oldest first,
    with its arguments, versions and environment). `model` and `corpus` are None before an ingest has begun.
    """
    model = dictionaries(warehouse, "FROM model")
    corpus = dictionaries(warehouse, "FROM corpus")
    stored = dictionaries(
        warehouse,
        "SELECT coalesce(sum(n_seqs), 0) AS n_sequences, coalesce(sum(tokens), 0) AS n_tokens FROM chunks",
    )[0]
    bos = dictionaries(
        warehouse, "SELECT token AS bos_token FROM vocabulary INNER JOIN model ON token_id = bos_token_id"
    )
    return {
        "schema_version": warehouse.value("SELECT version FROM schema_version"),
        "model": model[0] if model else None,
        "corpus": {
            **corpus[0],
            **_whole(stored),
            **(bos[0] if bos else {"bos_token": None}),
            "files": dictionaries(
                warehouse, "SELECT file, n_bytes, sha256 FROM corpus_files ORDER BY file_id"
            ),
        }
        if corpus
        else None,
        "saes": dictionaries(warehouse, "FROM saes ORDER BY role, layer, head"),
        "poor_reconstruction": (POOR_RECONSTRUCTION, POOR_CAUSES),
        "heads": dictionaries(
            warehouse,
            "SELECT layer, head, kept_attention_mass, kept_attention_mass_from_features FROM heads"
            " ORDER BY layer, head",
        ),
        "attention": dictionaries(
            warehouse,
            "SELECT avg(kept_attention_mass) AS mean_kept, min(kept_attention_mass) AS least_kept,"
            " max(kept_attention_mass) AS most_kept FROM heads",
        )[0],
        "rules": dictionaries(
            warehouse,
            "SELECT method, scaling, count(DISTINCT (layer, head, feature)) AS n_features,"
            " count(DISTINCT (layer, head, feature, rank)) AS n_rules FROM rules GROUP BY ALL UNION ALL"
            " SELECT m.method, 'none', count(DISTINCT (s.layer, s.head, s.feature)), count(*)"
            " FROM stated_rules AS s INNER JOIN methods AS m ON m.match_score = 'holds' GROUP BY ALL"
            " ORDER BY ALL",
        ),
        "runs": [_run(row) for row in dictionaries(warehouse, "FROM runs ORDER BY run_id")],
    }


def _whole(counts: dict[str, Any]) -> dict[str, int]:
    # A sum is a HUGEINT, which arrives as a float or an int by its size.
    return {name: int(count) for name, count in counts.items()}


def _run(row: dict[str, Any]) -> dict[str, Any]:
    parsed = {name: json.loads(row.get(name) or "{}") for name in ("arguments", "versions", "environment")}
    return {**row, **parsed}
