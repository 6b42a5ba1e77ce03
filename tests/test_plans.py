"""No step joins a fact table by nested loops, or tries an equality on every pair of rows instead of looking it up.

DuckDB plans a loop where it expects few rows, and then waits for hours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from attnrules import sql
from attnrules.ingest.intervene import Laboratory, LaboratorySpec
from attnrules.queries.absence import AbsenceSpec, mine_absence
from attnrules.queries.card import feature_card
from attnrules.queries.counting import CountingSpec, mine_counting
from attnrules.queries.heads import FeatureId
from attnrules.queries.interventions import InterveneSpec, intervene
from attnrules.queries.questions import ask, questions
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.sql import Statements
from attnrules.warehouse import Query, Warehouse
from attnrules.warehouse.asked import Asked

FACTS = {"tokens", "token_scales", "input_activations", "output_activations", "attention_sources"}
LOOPS = {"NESTED_LOOP_JOIN", "BLOCKWISE_NL_JOIN", "CROSS_PRODUCT"}
# An equality that is in brackets, since it is not one of hashes; of columns, not with a text, and no alternative.
JOINS_COLUMNS = re.compile(r"\((?!.* OR ).*? = (?!'[^']*'\)$).*\)")
PLANNED = re.compile(r"(--.*\n|\s)*(WITH|SELECT|FROM|CREATE|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The operators of a plan, its root first."""
    yield plan
    for child in plan["children"]:
        yield from nodes(child)


def reads(plan: dict[str, Any], shared: dict[str, set[str]]) -> set[str]:
    """The tables that a part of a plan reads, through its CTEs too."""
    tables = set()
    for node in nodes(plan):
        tables.add(node["extra_info"].get("Table", "").rsplit(".", 1)[-1])
        tables |= shared.get(node["extra_info"].get("CTE Index", ""), set())
    return tables


def is_one_row(plan: dict[str, Any]) -> bool:
    """Whether a part of a plan is one row: an aggregate of everything, a constant, or what has one by its nature."""
    while plan["name"].strip() == "PROJECTION":
        [plan] = plan["children"]
    name, facts = plan["name"].strip(), plan["extra_info"]
    constant = name == "COLUMN_DATA_SCAN" and facts["Estimated Cardinality"] == "1"
    single = facts.get("Table", "").rsplit(".", 1)[-1] in ("model", "corpus")
    return name == "UNGROUPED_AGGREGATE" or constant or single


def loops_over_facts(plan: dict[str, Any], query: str) -> list[str]:
    """The loops of a plan over a fact table; a product is none where the statement says CROSS JOIN."""
    shared: dict[str, set[str]] = {}
    # A CTE is planned before what reads it, and inner ones before outer ones.
    for node in reversed(list(nodes(plan))):
        if node["name"].strip() == "CTE":
            shared[node["extra_info"]["Table Index"]] = reads(node["children"][0], shared)
    found = []
    for node in nodes(plan):
        name = node["name"].strip()
        meant = name == "CROSS_PRODUCT" and "CROSS JOIN" in query
        over = FACTS & reads(node, shared)
        if name in LOOPS and over and not meant and not any(is_one_row(side) for side in node["children"]):
            found.append(f"{name} over {', '.join(sorted(over))}")
        found += [f"{name} tries {equality}" for equality in not_looked_up(node)]
    return found


def not_looked_up(node: dict[str, Any]) -> list[str]:
    """The equalities that a join tries on every pair: a side of them names columns of both tables."""
    if any(is_one_row(side) for side in node["children"]):
        return []
    conditions = node["extra_info"].get("Conditions", [])
    conditions = [conditions] if isinstance(conditions, str) else conditions
    tried = [condition for condition in conditions if JOINS_COLUMNS.fullmatch(condition)]
    return [condition for condition in tried if condition != OF_GIVEN_HEAD]


def explain(rows: Any, query: str, parameters: Mapping[str, object] | None) -> list[str]:
    """The loops over facts in the plan of a statement, which `rows` explains."""
    plans = [json.loads(text) for _, text in rows(f"EXPLAIN (FORMAT json) {query}", parameters)]
    return [loop for [plan] in plans for loop in loops_over_facts(plan, query)]


# A macro says this of the one row that it is given, joined to others before: the head, or any of a layer's.
OF_GIVEN_HEAD = "(head = CAST(head AS INTEGER))"

# Questions whose macros join the one row that they are given to what is found for it, which is no loop: the row
# has been compared with the facts before.
OF_ONE_ROW = {
    *(
        "activation_parts",
        "example_sources",
        "fires_at_text",
        "head_profile",
        "where_rules_fail",
        "why_attends",
    ),
}


class Explained(Warehouse):
    """A warehouse that looks at the plan of every statement before it runs it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.n_plans = 0
        self.loops: dict[str, list[str]] = {}

    def _look(self, query: Query, parameters: Mapping[str, object] | None) -> None:
        text = Asked(query).text
        if PLANNED.match(text):
            self.n_plans += 1
            found = explain(super().rows, text, parameters)
            if found:
                self.loops[text] = found

    def execute(self, statement: Query, parameters: Mapping[str, object] | None = None) -> int:
        self._look(statement, parameters)
        return super().execute(statement, parameters)

    def sql(self, query: Query, parameters: Mapping[str, object] | None = None) -> Any:
        self._look(query, parameters)
        return super().sql(query, parameters)

    def rows(self, query: Query, parameters: Mapping[str, object] | None = None) -> list[Any]:
        self._look(query, parameters)
        return super().rows(query, parameters)

    def columns(self, query: Query, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
        self._look(query, parameters)
        return super().columns(query, parameters)


def do_everything(warehouse: Warehouse) -> None:
    """Run every step that asks the warehouse, on one head."""
    at: dict[str, Any] = {"layers": (0,), "heads": (1,)}
    warehouse.refresh_derived()
    sets = ("paper", "uniform", "bins", "all_positions")
    spec = SkipgramSpec(
        method="all", n_features=4, examples_per_split=10, max_rules=64, example_sets=sets, **at
    )
    mine_skipgrams(warehouse, spec)
    mine_absence(warehouse, AbsenceSpec(**at))
    mine_counting(warehouse, CountingSpec(**at))
    laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
    intervene(warehouse, InterveneSpec(n_examples=3, copies=1, n_controls=2, **at), laboratory)
    [(feature,)] = warehouse.rows("SELECT min(feature) FROM rules")
    feature_card(warehouse, FeatureId(0, 1, feature))
    for name in sorted(questions().keys() - OF_ONE_ROW):
        ask(warehouse, name, {}).fetchall()
    for query in sql.checks().values():
        warehouse.rows(query)


def test_no_step_loops_over_a_fact_table(ingested: Path) -> None:
    with Explained.open(ingested, writable=True) as warehouse:
        do_everything(warehouse)
    assert warehouse.loops == {}
    assert warehouse.n_plans > 500


def test_a_loop_over_a_fact_table_is_seen(ingested: Path) -> None:
    # Without the settings of every connection of ours, DuckDB joins the counts of keys by nested loops.
    with duckdb.connect(ingested) as connection:
        step = Statements("attnrules.queries", "counting")
        connection.execute("SET asof_loop_join_threshold = 64")
        connection.execute(step("make_counting_splits").text, {"seed": 0})
        parameters = {
            **{"layer": 0, "head": 1, "bos_keys": False},
            **{name: [0] for name in ("features", "pairs", "keys", "queries", "opponents")},
        }
        found = explain(
            lambda query, given: connection.execute(query, given).fetchall(),
            step("make_count_positions").text,
            parameters,
        )
    assert found == ["NESTED_LOOP_JOIN over input_activations"] * 2


@pytest.mark.parametrize(
    ("query", "loops"),
    [
        ("SELECT count(*) FROM tokens AS a, tokens AS b", ["CROSS_PRODUCT over tokens"]),
        ("SELECT count(*) FROM tokens AS a CROSS JOIN tokens AS b", []),
        ("SELECT count(*) FROM tokens, (SELECT max(seq_id) AS last FROM tokens)", []),
        (
            "SELECT count(*) FROM tokens AS a INNER JOIN heads AS b ON a.pos <> b.layer",
            ["NESTED_LOOP_JOIN over tokens"],
        ),
        (
            "WITH t AS MATERIALIZED (FROM tokens) SELECT count(*) FROM t AS a INNER JOIN heads AS b"
            " ON a.pos % 3 <> b.layer OR a.pos < b.head",
            ["BLOCKWISE_NL_JOIN over tokens"],
        ),
        ("SELECT count(*) FROM tokens AS a INNER JOIN tokens AS b USING (seq_id, pos)", []),
        ("SELECT count(*) FROM heads AS a, heads AS b", []),
        (
            "SELECT count(*) FROM tokens AS a INNER JOIN tokens AS b ON a.seq_id = b.seq_id AND a.pos = b.pos + a.token_id",
            ["HASH_JOIN tries (pos = (pos + token_id))"],
        ),
        (
            "SELECT count(*) FROM tokens AS a INNER JOIN tokens AS b ON a.seq_id = b.seq_id AND a.pos - a.token_id = b.pos",
            [],
        ),
    ],
)
def test_loops_are_told_from_what_is_none(ingested_once: Path, query: str, loops: list[str]) -> None:
    with Warehouse.open(ingested_once) as warehouse:
        assert explain(warehouse.rows, query, None) == loops
