-- Grain: an active input feature at a token.
CREATE TABLE input_activations (
    layer SMALLINT NOT NULL,
    seq_id INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    activation FLOAT NOT NULL
);
COMMENT ON TABLE input_activations IS 'Activations a[t,i] > 0 of the input SAE of a layer, BOS included';
COMMENT ON COLUMN input_activations.layer IS 'Layer, 0-based';
COMMENT ON COLUMN input_activations.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN input_activations.pos IS 'Token position in the sequence, 0-based; position 0 is BOS';
COMMENT ON COLUMN input_activations.feature IS 'Feature of the input SAE';
COMMENT ON COLUMN input_activations.activation IS 'Activation of the feature, > 0';
