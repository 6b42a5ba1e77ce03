-- Grain: an active output feature of a head, or of a whole layer, at a token.
CREATE TABLE output_activations (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    seq_id INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    activation FLOAT NOT NULL
);
COMMENT ON TABLE output_activations IS 'Activations y[q,f] > 0 of the output SAE of a head, or of a layer, BOS included';
COMMENT ON COLUMN output_activations.layer IS 'Layer, 0-based';
COMMENT ON COLUMN output_activations.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN output_activations.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN output_activations.pos IS 'Token position in the sequence, 0-based; position 0 is BOS';
COMMENT ON COLUMN output_activations.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN output_activations.activation IS 'Activation of the feature, > 0';
