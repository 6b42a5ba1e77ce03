-- Macros are expanded where they are called: the names in them mean the database that is in use there, whichever file
-- the macro is stored in. What reads tables asks this first, so that it never answers with the rows of another file.
CREATE MACRO answers_here(of_warehouse) AS (
    CASE
        WHEN (
            SELECT count(*) = 1 AND bool_and(t.database_name = current_database())
            FROM system.main.duckdb_tables() AS t
            WHERE t.schema_name = 'main' AND t.table_name = 'schema_version' AND suffix(t.comment, of_warehouse)
        ) IS NOT TRUE
            THEN error('macros read the database in use: USE this warehouse, with no copy of it attached; or ask its views, they answer wherever it is attached')
        WHEN EXISTS (
            SELECT 1
            FROM system.main.duckdb_tables() AS t
            INNER JOIN system.main.duckdb_tables() AS s ON t.table_name = s.table_name
            WHERE s.temporary AND NOT t.temporary AND t.database_name = current_database()
        ) OR EXISTS (
            SELECT 1
            FROM system.main.duckdb_tables() AS t
            INNER JOIN system.main.duckdb_views() AS s ON t.table_name = s.view_name
            WHERE s.temporary AND NOT t.temporary AND t.database_name = current_database()
        )
            THEN error('a temporary table or view has the name of a table of this warehouse and hides it; drop it first')
        ELSE TRUE
    END
);
COMMENT ON MACRO answers_here IS 'TRUE where the macros of this warehouse read its own tables, an error elsewhere: answers_here(warehouse)';
