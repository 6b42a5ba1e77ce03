-- Grain: a view.
SELECT
    schema_name,
    view_name,
    sql
FROM system.main.duckdb_views()
WHERE NOT internal;
