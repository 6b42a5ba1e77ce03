"""The Python API: its keywords are those of the specs, and what it returns is what the commands write."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import attnrules
from attnrules import api
from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestSpec
from attnrules.ingest.intervene import LaboratorySpec
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.queries.absence import AbsenceSpec
from attnrules.queries.counting import CountingSpec
from attnrules.queries.interventions import InterveneSpec, OutputSpec, ProbeSpec, StatedSpec
from attnrules.queries.skipgrams import SkipgramSpec

REQUIRED = inspect.Parameter.empty
# The corpus is named once: its source is the keyword `corpus`.
RENAMED = {"source": "corpus"}


def defaults(*specs: Any) -> dict[str, object]:
    found = {}
    for spec in specs:
        for field in fields(spec):
            if field.type != "CorpusSpec":
                default = REQUIRED if field.default is MISSING else field.default
                found[RENAMED.get(field.name, field.name)] = default
    return found


@pytest.mark.parametrize(
    ("function", "specs"),
    [
        (attnrules.ingest_into, (IngestSpec, CorpusSpec)),
        (attnrules.RuleWarehouse.mine_skipgrams, (SkipgramSpec,)),
        (attnrules.RuleWarehouse.mine_absence, (AbsenceSpec,)),
        (attnrules.RuleWarehouse.mine_counting, (CountingSpec,)),
        (attnrules.RuleWarehouse.intervene, (InterveneSpec,)),
        (attnrules.RuleWarehouse.probe, (ProbeSpec,)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_keywords_and_defaults_are_those_of_the_specs(
    function: Callable[..., Any], specs: tuple[Any, ...]
) -> None:
    parameters = inspect.signature(function).parameters.values()
    offered = {
        p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in ("report",)
    }
    assert offered == defaults(*specs)


@pytest.mark.parametrize(
    ("name", "spec"), [("intervene_on_outputs", OutputSpec), ("intervene_on_stated", StatedSpec)]
)
def test_keywords_of_other_tests_are_those_of_their_specs_but_for_the_scaling_of_rules(
    name: str, spec: Any
) -> None:
    parameters = inspect.signature(getattr(attnrules.RuleWarehouse, name)).parameters.values()
    offered = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "report"}
    assert offered == {k: v for k, v in defaults(spec).items() if k != "scaling"}


@pytest.mark.parametrize("name", ["intervene", "intervene_on_outputs", "intervene_on_stated", "probe"])
def test_what_runs_the_model_says_where_it_is_as_a_laboratory_does(name: str) -> None:
    sources = inspect.signature(getattr(attnrules.RuleWarehouse, name)).parameters["sources"]
    assert sources.annotation == "Unpack[Sources]"
    assert get_type_hints(api.Sources) == get_type_hints(LaboratorySpec)


def test_a_probe_returns_what_it_stores(small: Path) -> None:
    with attnrules.open(small, writable=True) as warehouse:
        found = warehouse.probe(layers=[0], heads=[1], n_sequences=2, device="cpu")
        stored = warehouse.sql("SELECT layer, head, role, attention FROM head_probes ORDER BY role")
        assert found.select("layer", "head", "role", "attention").sort("role").rows() == stored.fetchall()
        assert warehouse.value("SELECT command FROM runs ORDER BY run_id DESC LIMIT 1") == "intervene"


def test_ingest_mine_show_and_query_by_the_api_alone(planted_spec: IngestSpec, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    corpus = planted_spec.corpus
    done = attnrules.ingest_into(
        path,
        model=planted_spec.model,
        input_sae=planted_spec.input_sae,
        output_sae=planted_spec.output_sae,
        corpus=corpus.source,
        seq_len=corpus.seq_len,
        layers=[0],
        heads=[0],
        n_sequences=200,
        device="cpu",
    )
    assert done.n_sequences == 200
    with attnrules.open(path, writable=True) as warehouse:
        (head,) = warehouse.mine_skipgrams(method="weighted", n_features=2, examples_per_split=5).heads
        assert head.n_features == 2
        (feature,) = warehouse.rows("SELECT min(feature) FROM rules")[0]
        card = warehouse.show(f"L0H0.{feature}", n_rules=3)
        assert {rule["method"] for rule in card.rules} == {"weighted"}
        assert warehouse.query("SELECT $x::INTEGER AS x", x=3).fetchall() == [(3,)]
        judged = "FROM rule_metrics WHERE split = 'test' AND example_set = 'all_positions'"
        lists = warehouse.rows(f"SELECT DISTINCT kind, method, scaling, n_rules {judged}")
        assert len(warehouse.query("methods").fetchall()) == len(lists) > 0


def test_features_may_be_written_as_text(mined: Path) -> None:
    with attnrules.open(mined, writable=True) as warehouse:
        (feature,) = warehouse.rows("SELECT min(feature) FROM rules WHERE layer = 0 AND head = 0")[0]
        result = warehouse.mine_absence(features=[f"L0H0.{feature}"])
        assert [(h.layer, h.head, h.n_features) for h in result.heads] == [(0, 0, 1)]


@pytest.mark.parametrize(("sql", "n"), [("SELECT 1; SELECT 2", "2"), ("-- nothing", "no"), (";", "no")])
def test_only_one_statement_is_asked_at_a_time(mined: Path, sql: str, n: str) -> None:
    with attnrules.open(mined) as warehouse, pytest.raises(AttnRulesError, match=f"{n} statements"):
        warehouse.query(sql)
