-- Grain: the warehouse.
INSERT INTO schema_version VALUES ($version, $created_by);
