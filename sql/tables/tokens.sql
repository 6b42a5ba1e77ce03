-- Grain: a token of the corpus.
CREATE TABLE tokens (
    seq_id INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    token_id INTEGER NOT NULL
);
COMMENT ON TABLE tokens IS 'The corpus as the model saw it';
COMMENT ON COLUMN tokens.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN tokens.pos IS 'Token position in the sequence, 0-based; position 0 is BOS';
COMMENT ON COLUMN tokens.token_id IS 'Token id';
