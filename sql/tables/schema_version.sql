-- Grain: the warehouse (one row).
CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    created_by VARCHAR NOT NULL
);
COMMENT ON TABLE schema_version IS 'Which layout this file has; checked whenever it is opened. This is the warehouse $warehouse';
COMMENT ON COLUMN schema_version.version IS 'Version of the tables, views and macros';
COMMENT ON COLUMN schema_version.created_by IS 'Version of attnrules that created the file';
