-- Grain: a column of a table.
SELECT
    table_name,
    column_name,
    data_type
FROM system.main.duckdb_columns()
WHERE NOT internal AND schema_name = 'main'
ORDER BY table_name, column_index;
