-- Grain: a schema beside main.
SELECT schema_name
FROM system.main.duckdb_schemas()
WHERE NOT internal;
