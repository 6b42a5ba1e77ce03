-- Grain: a range of sequences committed in one transaction.
CREATE TABLE chunks (
    chunk_id INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    n_seqs INTEGER NOT NULL,
    state VARCHAR NOT NULL CHECK (state IN ('done')),
    tokens BIGINT NOT NULL,
    input_activations BIGINT NOT NULL,
    output_activations BIGINT NOT NULL,
    attention_sources BIGINT NOT NULL,
    token_scales BIGINT NOT NULL,
    heads VARCHAR[] NOT NULL,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE chunks IS 'Ledger of the ingest: what is stored, and the unit of resuming';
COMMENT ON COLUMN chunks.chunk_id IS 'Number of the chunk, from 0';
COMMENT ON COLUMN chunks.first_seq IS 'First sequence of the range';
COMMENT ON COLUMN chunks.n_seqs IS 'Number of sequences';
COMMENT ON COLUMN chunks.state IS 'done: all rows of the range are stored; a chunk in work has no row';
COMMENT ON COLUMN chunks.tokens IS 'Rows of tokens';
COMMENT ON COLUMN chunks.input_activations IS 'Rows of input_activations';
COMMENT ON COLUMN chunks.output_activations IS 'Rows of output_activations';
COMMENT ON COLUMN chunks.attention_sources IS 'Rows of attention_sources';
COMMENT ON COLUMN chunks.token_scales IS 'Rows of token_scales';
COMMENT ON COLUMN chunks.heads IS 'Heads whose rows are stored, such as L0H3, and layers whose layer-wide output SAE is, such as L0; the input features of their layers are stored too. L0H3:attention lacks output features, its output SAE is being replaced';
COMMENT ON COLUMN chunks.run_id IS 'Run that wrote it, or last added to it';
