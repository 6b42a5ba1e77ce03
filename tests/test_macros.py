"""Macros answer from their own file and for the row they are called for, whatever the caller named things."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

MACROS = {
    file.stem: file.read_text("utf-8") for file in (Path(__file__).parents[1] / "sql/macros").glob("*.sql")
}


def inner(macro: str) -> set[str]:
    """What a macro, and those that it calls, name inside: aliases, common table expressions, columns, parameters."""
    text = re.sub(r"(?m)^--.*|'[^']*'", "", MACROS[macro])
    called = set(re.findall(r"\bmain\.(\w+)\(", text)) & MACROS.keys()
    return {*re.findall(r"\b[a-z][a-z_0-9]*\b", text)}.union(*map(inner, called))


# What the calls below are made for: rules of several scores, each with a query position of its output feature.
CALLERS = """
CREATE TEMP TABLE callers AS
SELECT row_number() OVER () AS caller, *
FROM (
    FROM (
        FROM rules AS r
        SEMI JOIN (FROM output_activations WHERE pos > 1) USING (layer, head, feature)
        WHERE query_feature IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY attn_score, value_score ORDER BY layer, head, feature, rowid) = 1
        ORDER BY abs(attn_score * value_score) DESC, attn_score, value_score
        LIMIT 3
    ) AS r
    INNER JOIN output_activations AS o USING (layer, head, feature)
    SELECT r.layer, r.head, r.feature, r.key_feature, r.query_feature, o.seq_id, o.pos
    WHERE o.pos > 1
    QUALIFY
        row_number() OVER (
            PARTITION BY r.attn_score, r.value_score ORDER BY mix32(o.seq_id + r.key_feature), o.pos
        ) = 1
)
"""
# The macro called for a row {a} of the callers, and the value of each row by a query that calls no macro.
SCALARS = {
    "attn_score": (
        "attn_score({a}layer, {a}head, {a}key_feature, {a}query_feature)",
        "SELECT array_inner_product(k.key_vector, q.query_vector) FROM projections k, projections q"
        " WHERE (k.layer, k.head, k.feature) = ($layer, $head, $key_feature)"
        " AND (q.layer, q.head, q.feature) = ($layer, $head, $query_feature)",
    ),
    "attn_score_at": (
        "attn_score_at({a}layer, {a}head, {a}key_feature, {a}query_feature, {a}pos)",
        "SELECT list_inner_product(k.key_vector::DOUBLE[], q.query_vector::DOUBLE[]) FROM projections k, projections q"
        " WHERE (k.layer, k.head, k.feature) = ($layer, $head, $key_feature)"
        " AND (q.layer, q.head, q.feature) = ($layer, $head, $query_feature)",
    ),
    "value_score": (
        "value_score({a}layer, {a}head, {a}feature, {a}key_feature)",
        "SELECT array_inner_product(p.value_vector, f.encoder) FROM projections p, output_features f"
        " WHERE (p.layer, p.head, p.feature) = ($layer, $head, $key_feature)"
        " AND (f.layer, f.head, f.feature) = ($layer, $head, $feature)",
    ),
    "value_score_through": (
        "value_score_through({a}layer, {a}head, {a}feature, {a}head, {a}key_feature)",
        "SELECT array_inner_product(p.value_vector, f.encoder) FROM projections p, feature_heads f"
        " WHERE (p.layer, p.head, p.feature) = ($layer, $head, $key_feature)"
        " AND (f.layer, f.head, f.feature, f.through_head) = ($layer, $head, $feature, $head)",
    ),
    "token_text": (
        "token_text({a}seq_id)",
        "SELECT string_agg(token, '' ORDER BY pos) FROM tokens JOIN vocabulary USING (token_id)"
        " WHERE seq_id = $seq_id",
    ),
}
TABLES = {
    "activation_parts": (
        "activation_parts({a}layer, {a}head, {a}feature, {a}seq_id, {a}pos, 'weighted', 'paper', 8)",
        "SELECT count(*), sum(activation) FROM output_activations"
        " WHERE (layer, head, feature, seq_id, pos) = ($layer, $head, $feature, $seq_id, $pos)",
        "count(*) FILTER (part = 'biases'), sum(amount)",
    ),
    "rules_of": (
        "rules_of({a}layer, {a}head, {a}feature)",
        "SELECT count(*), sum(score) FROM rules WHERE (layer, head, feature) = ($layer, $head, $feature)",
        "count(*), sum(score)",
    ),
    "dfa": (
        "dfa({a}layer, {a}head, {a}feature, {a}seq_id, {a}pos)",
        "SELECT count(*), sum(weight) FROM attention_sources"
        " WHERE (layer, head, seq_id, query_pos) = ($layer, $head, $seq_id, $pos)",
        "count(*), sum(weight)",
    ),
    "activations_of": (
        "activations_of({a}layer, {a}head, {a}feature)",
        "SELECT count(*), sum(activation) FROM output_activations"
        " WHERE (layer, head, feature) = ($layer, $head, $feature) AND pos > 0",
        "count(*), sum(activation)",
    ),
    "attention_terms": (
        "attention_terms({a}layer, {a}head, {a}seq_id, {a}pos, {a}pos - 1)",
        "SELECT (1 + count(*) FILTER (pos = $pos)) * (1 + count(*) FILTER (pos = $pos - 1)), sum(0)"
        " FROM input_activations WHERE (layer, seq_id) = ($layer, $seq_id)",
        "count(*), sum(key_feature - key_feature)",
    ),
    "context_at": (
        "context_at({a}seq_id, {a}pos)",
        "SELECT count(*), max(length(token)) FROM tokens JOIN vocabulary USING (token_id)"
        " WHERE (seq_id, pos) = ($seq_id, $pos)",
        "count(*), max(length(token))",
    ),
    "head_attention": (
        "head_attention({a}layer, {a}head)",
        "SELECT count(DISTINCT query_pos - key_pos), sum(weight) FROM attention_sources"
        " WHERE (layer, head) = ($layer, $head) AND query_pos > 1 AND key_pos > 0",
        "count(*), sum(attention)",
    ),
    "logit_terms": (
        "logit_terms({a}layer, {a}head, {a}pos, [{a}key_feature], [1.0], 2.0, [{a}query_feature], [1.0], 2.0)",
        "SELECT 4, $key_feature::DOUBLE",
        "count(*), avg(key_feature)",
    ),
    "rules_at": (
        "rules_at({a}layer, {a}head, {a}feature, {a}seq_id, {a}pos)",
        "SELECT count(*), sum(rank) FROM rules_at($layer, $head, $feature, $seq_id, $pos)",
        "count(*), sum(rank)",
    ),
    "shared_keys": (
        "shared_keys({a}layer, 'weighted', {a}key_feature - {a}key_feature + 4)",
        "SELECT count(*), sum(n_shared) FROM shared_keys($layer, 'weighted', 4)",
        "count(*), sum(n_shared)",
    ),
    "source_distances": (
        "source_distances({a}layer, {a}head, {a}feature)",
        "SELECT count(DISTINCT query_pos - key_pos), avg($feature - $feature) FROM attention_sources"
        " WHERE (layer, head) = ($layer, $head) AND key_pos > 0",
        "count(*), avg(distance - distance)",
    ),
}


@pytest.fixture(scope="module")
def connection(small_once: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(small_once), read_only=True) as connection:
        connection.execute(CALLERS)
        yield connection


def callers(connection: duckdb.DuckDBPyConnection) -> list[dict[str, int]]:
    result = connection.execute("FROM callers ORDER BY caller")
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def expected(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[object, ...]]:
    named = set(re.findall(r"\$(\w+)", query))
    return [
        connection.execute(query, {k: v for k, v in caller.items() if k in named}).fetchall()[0]
        for caller in callers(connection)
    ]


def prefixes(alias: str) -> list[str]:
    """How a column of the callers is written; without the alias, columns of the same name lie inside the macro."""
    return [f"{alias}.", ""] if alias in ("a", "given") else [f"{alias}."]


def is_sql_word(connection: duckdb.DuckDBPyConnection, alias: str) -> bool:
    reserved = (
        "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')"
    )
    return alias in {row[0] for row in connection.execute(reserved).fetchall()}


@pytest.mark.parametrize("macro", SCALARS)
def test_a_scalar_macro_answers_for_the_row_it_is_called_for(
    connection: duckdb.DuckDBPyConnection, macro: str
) -> None:
    call, plain = SCALARS[macro]
    right = [row[0] for row in expected(connection, plain)]
    assert len(set(right)) > 1
    for alias in (a for a in sorted(inner(macro)) if not is_sql_word(connection, a)):
        for prefix in prefixes(alias):
            query = f"SELECT {call.format(a=prefix)} FROM callers AS {alias} ORDER BY caller"
            assert [row[0] for row in connection.execute(query).fetchall()] == right, query


@pytest.mark.parametrize("macro", TABLES)
def test_a_table_macro_answers_laterally_for_the_row_it_is_called_for(
    connection: duckdb.DuckDBPyConnection, macro: str
) -> None:
    call, plain, sums = TABLES[macro]
    right = expected(connection, plain)
    assert all(row[0] for row in right)
    for alias in (a for a in sorted(inner(macro)) if not is_sql_word(connection, a)):
        for prefix in prefixes(alias):
            query = (
                f"SELECT answer.* FROM callers AS {alias},"
                f" LATERAL (SELECT {sums} FROM {call.format(a=prefix)}) AS answer ORDER BY {alias}.caller"
            )
            found = connection.execute(query).fetchall()
            assert [row[0] for row in found] == [row[0] for row in right], query
            assert [row[1] for row in found] == pytest.approx([row[1] for row in right]), query


@pytest.mark.parametrize("macro", [*SCALARS, *TABLES])
def test_a_macro_does_not_read_the_callers_common_table_expressions(
    connection: duckdb.DuckDBPyConnection, macro: str
) -> None:
    call = {**SCALARS, **TABLES}[macro][0]
    caller = callers(connection)[0]
    literal = re.sub(r"\{a\}(\w+)", lambda match: str(caller[match[1]]), call)
    ask = f"SELECT {literal}" if macro in SCALARS else f"FROM {literal}"
    tables = [
        row[0]
        for row in connection.execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary").fetchall()
    ]
    views = [
        row[0]
        for row in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    ]
    hiding = ", ".join(
        f"{name} AS (SELECT 1 AS one)" for name in [*tables, *views, "given", "sources", "read_off"]
    )
    assert connection.execute(f"WITH {hiding} {ask}").fetchall() == connection.execute(ask).fetchall()


@pytest.fixture
def other(small_once: Path, tmp_path: Path) -> Path:
    """A second warehouse of the same model: an identity of its own, no rules, other words."""
    from attnrules.warehouse import Warehouse

    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(small_once), read_only=True) as connection:
        tables = [
            row[0]
            for row in connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE NOT temporary"
            ).fetchall()
        ]
        d_head = connection.execute("SELECT d_head FROM model").fetchall()[0][0]
    Warehouse.create(path, d_head=d_head).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"ATTACH '{small_once}' AS mined (READ_ONLY)")
        for table in (t for t in tables if t not in ("schema_version", "rules")):
            connection.execute(f"INSERT INTO {table} FROM mined.{table}")
        connection.execute("UPDATE vocabulary SET token = 'x'")
    return path


def calls(connection: duckdb.DuckDBPyConnection, catalogue: str) -> list[str]:
    caller = callers(connection)[0]
    asked = {name: f"SELECT {catalogue}{call}" for name, (call, _) in SCALARS.items()}
    asked |= {name: f"FROM {catalogue}{call}" for name, (call, _, _) in TABLES.items()}
    return [re.sub(r"\{a\}(\w+)", lambda match: str(caller[match[1]]), call) for call in asked.values()]


def test_a_macro_of_an_attached_warehouse_never_answers_with_the_rows_of_another(
    connection: duckdb.DuckDBPyConnection, small_once: Path, other: Path
) -> None:
    with duckdb.connect(str(small_once), read_only=True) as both:
        both.execute(f"ATTACH '{other}' AS b (READ_ONLY)")
        for ask in calls(connection, "b."):
            with pytest.raises(duckdb.Error, match="USE this warehouse"):
                both.execute(ask).fetchall()
        for ask in calls(connection, ""):
            assert both.execute(ask).fetchall() == connection.execute(ask).fetchall()
        both.execute("USE b")
        assert both.execute("SELECT token_text(0)").fetchall() == [("x" * len(tokens_of(connection)),)]
        assert both.execute("FROM rules_of(0, 0, 0)").fetchall() == []
        with pytest.raises(duckdb.Error, match="USE this warehouse"):
            both.execute(f"SELECT {small_once.stem}.token_text(0)").fetchall()
        both.execute(f"USE {small_once.stem}")
        both.execute("DETACH b")


def tokens_of(connection: duckdb.DuckDBPyConnection) -> list[tuple[int]]:
    return connection.execute("SELECT pos FROM tokens WHERE seq_id = 0").fetchall()


def test_a_macro_refuses_where_a_copy_of_its_warehouse_is_attached(
    connection: duckdb.DuckDBPyConnection, small_once: Path, tmp_path: Path
) -> None:
    copy = shutil.copy(small_once, tmp_path / "copy.duckdb")
    with duckdb.connect(str(copy)) as changed:
        changed.execute("DELETE FROM rules")
    with duckdb.connect(str(small_once), read_only=True) as both:
        both.execute(f"ATTACH '{copy}' AS b (READ_ONLY)")
        for ask in [*calls(connection, "b."), *calls(connection, "")]:
            with pytest.raises(duckdb.Error, match="no copy of it attached"):
                both.execute(ask).fetchall()
        both.execute("DETACH b")


def test_a_macro_of_a_warehouse_that_is_not_in_use_fails(
    connection: duckdb.DuckDBPyConnection, small_once: Path
) -> None:
    with duckdb.connect() as shell:
        shell.execute(f"ATTACH '{small_once}' AS b (READ_ONLY)")
        for ask in calls(connection, "b."):
            with pytest.raises(duckdb.Error, match="Catalog Error"):
                shell.execute(ask).fetchall()
        shell.execute("USE b")
        for ask in calls(connection, ""):
            assert shell.execute(ask).fetchall() == connection.execute(ask).fetchall()


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_a_macro_refuses_where_a_temporary_table_hides_one_of_its_own(
    connection: duckdb.DuckDBPyConnection, small_once: Path, kind: str
) -> None:
    with duckdb.connect(str(small_once), read_only=True) as session:
        session.execute(f"CREATE TEMP {kind} tokens AS SELECT 0 AS seq_id, 0 AS pos, 0 AS token_id")
        for ask in calls(connection, ""):
            with pytest.raises(duckdb.Error, match="hides it"):
                session.execute(ask).fetchall()


def test_macros_do_not_depend_on_the_search_path(connection: duckdb.DuckDBPyConnection, small: Path) -> None:
    with duckdb.connect(str(small)) as session:
        session.execute("CREATE SCHEMA mine")
        session.execute("CREATE TABLE mine.tokens AS SELECT 0 AS seq_id, 0 AS pos, 0 AS token_id")
        session.execute("SET search_path = 'mine,main'")
        for ask in calls(connection, "main."):
            assert session.execute(ask).fetchall() == connection.execute(ask.replace("main.", "")).fetchall()


@pytest.mark.parametrize(
    ("match_score", "query_activation", "score"),
    [
        ("product", 5.0, (5 * 4 * 2) * (4 * 3)),
        ("linear", 5.0, (5 * 4 * 2) * 3),
        ("product", None, 4 * 3),
        ("linear", None, 4 * 3),
        ("own", 5.0, 1),
        ("carried", None, 3 * 7),
    ],
)
def test_a_match_scores_as_its_method_says(
    connection: duckdb.DuckDBPyConnection, match_score: str, query_activation: float | None, score: float
) -> None:
    asked = "SELECT score_of_match($match_score, 1, 2, 3, 4, $query_activation, 7)"
    given = {"match_score": match_score, "query_activation": query_activation}
    assert connection.execute(asked, given).fetchone() == (score,)
