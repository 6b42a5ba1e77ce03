-- Grain: a name that DuckDB itself gives a meaning, as a function, a view or a type.
SELECT
    'macro' AS kind,
    function_name AS name
FROM system.main.duckdb_functions()
UNION
SELECT
    'view' AS kind,
    view_name AS name
FROM system.main.duckdb_views()
UNION
SELECT
    'type' AS kind,
    type_name AS name
FROM system.main.duckdb_types();
