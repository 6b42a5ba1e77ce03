-- Grain: the warehouse.
-- Writes: schema_version
INSERT INTO schema_version VALUES ($version, $created_by);
