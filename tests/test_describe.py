"""`attnrules describe`: everything that decides a number is stored, and said."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from attnrules.commands.describe import methods
from attnrules.ingest import IngestSpec
from attnrules.queries.skipgrams import SkipgramSpec
from attnrules.warehouse import Warehouse, describe


@pytest.fixture(scope="module")
def facts(mined_once: Path) -> dict[str, Any]:
    with Warehouse.open(mined_once) as warehouse:
        described = describe(warehouse)
    # Other tests ask the same file for the impossible, which leaves failed runs.
    return {**described, "runs": [run for run in described["runs"] if run["status"] == "done"]}


def test_every_run_is_stored_with_its_arguments(facts: dict[str, Any], planted_spec: IngestSpec) -> None:
    mined = [
        SkipgramSpec(method=method, n_features=None, examples_per_split=10, scaling=scaling)
        for method, scaling in (("all", "paper"), ("magnitude", "model"))
    ]
    expected = [("ingest", asdict(planted_spec)), *(("mine skipgrams", asdict(spec)) for spec in mined)]
    stored = [(run["command"], run["arguments"]) for run in facts["runs"]]
    assert stored == [(command, json.loads(json.dumps(given))) for command, given in expected]


def test_runs_record_where_they_computed(facts: dict[str, Any]) -> None:
    ingest, mine, _ = facts["runs"]
    assert ingest["environment"]["python"].endswith(platform.python_version())
    assert (ingest["environment"]["device"], ingest["environment"]["dtype"]) == ("cpu", "float32")
    assert "device" not in mine["environment"]
    for library in ("torch", "transformers", "sae-lens", "duckdb"):
        assert ingest["versions"][library] == version(library)


def test_local_sources_have_no_commit(facts: dict[str, Any]) -> None:
    rows = [facts["model"], facts["corpus"], *facts["saes"]]
    assert {row["resolved_commit"] for row in rows} == {None}


def test_the_corpus_is_counted(facts: dict[str, Any]) -> None:
    assert (facts["corpus"]["n_sequences"], facts["corpus"]["n_tokens"]) == (600, 600 * 32)
    assert facts["corpus"]["bos_token"] == "<bos>"


def test_the_prose_names_what_decides_the_numbers(facts: dict[str, Any]) -> None:
    prose = " ".join(methods(facts))
    for part in (
        facts["model"]["sha256"][:12],
        facts["model"]["processing"],
        "blocks.{layer}.hook_resid_pre",
        "layers 0-1",
        "8 heads",
        "'<bos>'",
        "600 sequences, 19,200 tokens",
        "in float32 on cpu, seed 0",
        f"torch {version('torch')}",
        "scaling paper",
        "scaling model",
        "scaling paper, seed 0",
    ):
        assert part in prose
    assert "None" not in prose


def test_the_command_lists_every_digest_and_run(
    attnrules: Any, mined_once: Path, facts: dict[str, Any]
) -> None:
    outcome = attnrules("describe", mined_once)
    assert outcome.code == 0
    assert set(re.findall(r"\b[0-9a-f]{64}\b", outcome.out)) == {
        row["sha256"] for row in [facts["model"], *facts["saes"], *facts["corpus"]["files"]]
    }
    for run in facts["runs"]:
        assert f"{run['command']} {json.dumps(run['arguments'])}" in outcome.out


def test_json_holds_the_same(attnrules: Any, mined_once: Path, facts: dict[str, Any]) -> None:
    found = json.loads(attnrules("describe", mined_once, "--json").out)
    found["runs"] = [run for run in found["runs"] if run["status"] == "done"]
    assert found == json.loads(json.dumps(facts, default=str))


def test_stated_rules_are_counted_among_the_others(facts: dict[str, Any], mined_once: Path) -> None:
    with Warehouse.open(mined_once) as warehouse:
        [(n_features, n_rules)] = warehouse.rows(
            "SELECT count(DISTINCT (layer, head, feature)), count(*) FROM stated_rules"
        )
    assert {"method": "stated", "scaling": "none", "n_features": n_features, "n_rules": n_rules} in facts[
        "rules"
    ]
    assert f"The warehouse holds {n_rules:,} stated rules of {n_features:,} features." in methods(facts)[-1]
