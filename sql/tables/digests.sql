-- Grain: a part of a table that is written together: of a chunk, a head, a feature or a run.
CREATE TABLE digests (
    table_name VARCHAR NOT NULL,
    part VARCHAR NOT NULL,
    chunk_id INTEGER,
    run_id INTEGER,
    layer INTEGER,
    head INTEGER,
    feature INTEGER,
    n_rows BIGINT NOT NULL,
    digest BIGINT NOT NULL
);
COMMENT ON TABLE digests IS 'What every part of the warehouse held when it was written; attnrules check computes it again from the rows';
COMMENT ON COLUMN digests.table_name IS 'Table that the rows belong to';
COMMENT ON COLUMN digests.part IS 'rows: all columns; weights or derived: the columns known from the weights, or computed from the facts; imported, tokens or embedding: descriptions of that kind';
COMMENT ON COLUMN digests.chunk_id IS 'Chunk of the ledger, NULL where rows belong to none';
COMMENT ON COLUMN digests.run_id IS 'Run, for the rows of runs';
COMMENT ON COLUMN digests.layer IS 'Layer, NULL where rows belong to none';
COMMENT ON COLUMN digests.head IS 'Attention head, NULL where rows belong to none; -1: the SAE over the whole layer';
COMMENT ON COLUMN digests.feature IS 'Output feature, for what was mined';
COMMENT ON COLUMN digests.n_rows IS 'Number of rows';
COMMENT ON COLUMN digests.digest IS 'Sum of the hashes of the rows modulo 2^64, as a signed number: their order does not matter';
