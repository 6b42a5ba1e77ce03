-- Grain: a type that was made by hand.
SELECT
    schema_name,
    type_name
FROM system.main.duckdb_types()
WHERE NOT internal;
