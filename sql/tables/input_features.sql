-- Grain: a feature of an input SAE.
CREATE TABLE input_features (
    layer SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    n_sequences INTEGER NOT NULL,
    n_tokens BIGINT NOT NULL,
    mean_activation DOUBLE,
    max_activation DOUBLE,
    description VARCHAR
);
COMMENT ON TABLE input_features IS 'How often and how strongly an input feature fires, BOS positions left out';
COMMENT ON COLUMN input_features.layer IS 'Layer, 0-based';
COMMENT ON COLUMN input_features.feature IS 'Feature of the input SAE';
COMMENT ON COLUMN input_features.n_sequences IS 'Sequences in which it is active after BOS';
COMMENT ON COLUMN input_features.n_tokens IS 'Tokens at which it is active, BOS left out';
COMMENT ON COLUMN input_features.mean_activation IS 'Mean activation over its active tokens, NULL where it never fires';
COMMENT ON COLUMN input_features.max_activation IS 'Largest activation, NULL where it never fires';
COMMENT ON COLUMN input_features.description IS 'What it fires on: the tokens with the largest share of its activation';
