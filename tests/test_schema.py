"""What the file itself says: a comment on everything, and an older DuckDB that reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attnrules import sql
from attnrules.warehouse import Warehouse

OLDER_DUCKDB = "ATTNRULES_OLD_DUCKDB_PYTHON"
# A call of every macro, on the planted warehouse.
CALLS = {
    "activation_parts": "FROM activation_parts(0, 0, 0, 0, 5, 'weighted', 'paper', 4)",
    "activations_of": "FROM activations_of(0, 0, 0)",
    "attention_terms": "FROM attention_terms(0, 0, 0, 5, 3)",
    "attn_score": "SELECT attn_score(layer, head, 0, 1) FROM heads ORDER BY layer, head",
    "attn_score_at": "SELECT attn_score_at(layer, head, 0, 1, 2) FROM heads ORDER BY layer, head",
    "bytes_text": "SELECT bytes_text('C3A9')",
    "context_at": "FROM context_at(0, 5)",
    "dfa": "FROM dfa(0, 0, 0, 0, 5)",
    "exact_sum": "SELECT exact_sum(activation) FROM output_activations",
    "exact_units": "SELECT exact_units(0.1)",
    "head_attention": "FROM head_attention(0, 0)",
    "head_label": "SELECT head_label(layer, head) FROM heads ORDER BY layer, head",
    "held_out_outcomes": "FROM held_out_outcomes(0, 0, 0, 'weighted', 4)",
    "joined_text": "SELECT joined_text(token, token_bytes, token_id) FROM vocabulary",
    "lift_label": "SELECT lift_label(2.5)",
    "logit_terms": "FROM logit_terms(0, 0, 2, [0, 1], [1.0, 0.5], 2.0, [1], [1.0], 2.0)",
    "mix32": "SELECT mix32(7)",
    "mix32_first": "SELECT mix32_first(7::UBIGINT)",
    "mix32_second": "SELECT mix32_second(7::UBIGINT)",
    "mix32_third": "SELECT mix32_third(7::UBIGINT)",
    "rules_at": "FROM rules_at(0, 0, 0, 0, 5)",
    "rules_of": "FROM rules_of(0, 0, 0)",
    "score_of_match": "SELECT score_of_match('product', 1.0, 2.0, 3.0, 4.0, 5.0, NULL)",
    "sequence_split": "SELECT sequence_split(0, 7)",
    "share_label": "SELECT share_label(0.5)",
    "shared_keys": "FROM shared_keys(0, 'weighted', 16)",
    "source_distances": "FROM source_distances(0, 0, 0)",
    "stated_at": "FROM stated_at(0, 0, 0, 0, 5)",
    "text_search": "FROM text_search('the')",
    "token_label": "SELECT token_label(chr(10))",
    "token_text": "SELECT token_text(0)",
    "turned_key": "SELECT turned_key([1.0, 2.0], 1, [0.5], 'halves', 1.0)",
    "value_score": "SELECT value_score(layer, head, 0, 1) FROM heads ORDER BY layer, head",
    "value_score_through": "SELECT value_score_through(layer, head, 0, head, 1) FROM heads ORDER BY layer, head",
}
# Run in a Python that has DuckDB and nothing else: reads all of every table and view, and prints the rows that
# each holds, the answers of the calls, and all comments.
READ_ALL = """
import duckdb, json, sys

connection = duckdb.connect(sys.argv[1], read_only=True)
# It would be printed among the answers where one takes seconds.
connection.execute("SET enable_progress_bar = false")
ask = lambda query: connection.execute(query).fetchall()
rows = {}
for (name,) in ask("SELECT table_name FROM information_schema.tables ORDER BY ALL"):
    ask(f"SELECT max(COLUMNS(*)::VARCHAR) FROM {name}")
    rows[name] = ask(f"SELECT count(*) FROM {name}")[0][0]
answers = {name: str(sorted(ask(call), key=str)) for name, call in json.loads(sys.argv[2]).items()}
n_comments = ask("SELECT count(comment) FROM duckdb_columns() WHERE NOT internal")[0][0]
print(json.dumps({"duckdb": duckdb.__version__, "read": [rows, answers, n_comments]}))
"""


def read_all(python: str, path: Path) -> dict[str, Any]:
    # A list of rules that was judged: of another the macro says that there is none.
    with Warehouse.open(path) as warehouse:
        ((layer, head, feature),) = warehouse.rows(
            "SELECT layer, head, feature FROM rule_evaluations WHERE method = 'weighted' AND n_rules = 4"
            " AND example_set = 'all_positions' ORDER BY ALL LIMIT 1"
        )
    calls = {
        **CALLS,
        "held_out_outcomes": f"FROM held_out_outcomes({layer}, {head}, {feature}, 'weighted', 4)",
        "activation_parts": f"FROM activation_parts({layer}, {head}, {feature}, 0, 5, 'weighted', 'paper', 4)",
    }
    done = subprocess.run(
        [python, "-c", READ_ALL, str(path), json.dumps(calls)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def undocumented(warehouse: Warehouse, kind: str) -> list[str]:
    catalogue = {
        "tables": "SELECT table_name, comment FROM duckdb_tables()",
        "views": "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal",
        "columns": "SELECT table_name || '.' || column_name, comment FROM duckdb_columns() WHERE NOT internal",
        "macros": "SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal",
    }
    return [name for name, comment in warehouse.rows(catalogue[kind]) if not comment]


def test_columns_are_listed_as_duckdb_lists_them(small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        for table in sql.table_names():
            assert list(sql.table_columns(table)) == warehouse.relation(table).columns


@pytest.mark.parametrize("kind", ["tables", "views", "columns", "macros"])
def test_everything_has_a_comment(ingested_once: Path, kind: str) -> None:
    with Warehouse.open(ingested_once) as warehouse:
        assert undocumented(warehouse, kind) == []


def test_every_macro_is_called_here(ingested_once: Path) -> None:
    with Warehouse.open(ingested_once) as warehouse:
        names = warehouse.rows("SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT internal")
    assert {name for (name,) in names} == {"answers_here", *CALLS}


@pytest.mark.skipif(
    OLDER_DUCKDB not in os.environ,
    reason=f"{OLDER_DUCKDB} names no Python with duckdb 1.4, the oldest that reads a warehouse",
)
def test_an_older_duckdb_reads_all_of_a_warehouse(mined_once: Path) -> None:
    older = read_all(os.environ[OLDER_DUCKDB], mined_once)
    assert older["duckdb"].startswith(sql.STORAGE_VERSION.removeprefix("v").rpartition(".")[0])
    assert older["read"] == read_all(sys.executable, mined_once)["read"]
