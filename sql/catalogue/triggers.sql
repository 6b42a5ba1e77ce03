-- Grain: a trigger.
SELECT trigger_name
FROM system.main.duckdb_triggers();
