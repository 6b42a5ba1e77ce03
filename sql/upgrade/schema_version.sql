-- Grain: the warehouse.
-- Writes: schema_version
INSERT INTO new.main.schema_version BY NAME
SELECT
    5 AS version,
    s.created_by
FROM old.main.schema_version AS s;
