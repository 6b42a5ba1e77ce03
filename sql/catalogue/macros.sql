-- Grain: a macro, or one of its overloads.
SELECT
    schema_name,
    function_name,
    function_type,
    parameters,
    macro_definition
FROM system.main.duckdb_functions()
WHERE NOT internal;
