-- Grain: a table. Nothing but columns of DuckDB's own functions, by their full name: what a file holds can shadow the rest.
SELECT
    schema_name,
    table_name,
    sql,
    comment
FROM system.main.duckdb_tables()
WHERE NOT internal;
