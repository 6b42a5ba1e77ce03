-- Grain: a command that wrote to the warehouse.
CREATE TABLE runs (
    run_id INTEGER PRIMARY KEY,
    command VARCHAR NOT NULL,
    arguments JSON NOT NULL,
    versions JSON NOT NULL,
    environment JSON,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    status VARCHAR NOT NULL CHECK (status IN ('running', 'done', 'failed', 'interrupted'))
);
COMMENT ON TABLE runs IS 'Provenance: what was run, with which arguments and versions';
COMMENT ON COLUMN runs.run_id IS 'Number of the run, from 1';
COMMENT ON COLUMN runs.command IS 'The command, such as ingest or mine skipgrams';
COMMENT ON COLUMN runs.arguments IS 'Every argument that decides a number';
COMMENT ON COLUMN runs.versions IS 'Versions of attnrules and the libraries that computed';
COMMENT ON COLUMN runs.environment IS 'Where it computed: Python, machine, and device and dtype where a model ran';
COMMENT ON COLUMN runs.started_at IS 'Start of the run, UTC';
COMMENT ON COLUMN runs.finished_at IS 'End of the run, UTC, NULL while it runs or when it was killed';
COMMENT ON COLUMN runs.status IS 'How it ended; running after a kill';
