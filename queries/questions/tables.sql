-- The tables and views of the warehouse, and what a row of each is for.
-- Group: the warehouse
SELECT
    table_name AS name,
    'table' AS kind,
    estimated_size AS n_rows,
    comment
FROM duckdb_tables()
UNION ALL
SELECT
    view_name AS name,
    'view' AS kind,
    NULL AS n_rows,
    comment
FROM duckdb_views()
WHERE NOT internal
ORDER BY kind, name;
