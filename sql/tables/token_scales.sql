-- Grain: a token at a layer.
CREATE TABLE token_scales (
    layer SMALLINT NOT NULL,
    seq_id INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    ln_scale FLOAT NOT NULL,
    ln_scale_from_features FLOAT NOT NULL,
    reconstruction_error FLOAT NOT NULL
);
COMMENT ON TABLE token_scales IS 'Layer-norm scales and SAE reconstruction error';
COMMENT ON COLUMN token_scales.layer IS 'Layer, 0-based';
COMMENT ON COLUMN token_scales.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN token_scales.pos IS 'Token position in the sequence, 0-based; position 0 is BOS';
COMMENT ON COLUMN token_scales.ln_scale IS 'Scale that the layer norm divides x_t by';
COMMENT ON COLUMN token_scales.ln_scale_from_features IS 'The same scale computed from the reconstruction of the input SAE';
COMMENT ON COLUMN token_scales.reconstruction_error IS 'Squared norm of x_t minus its reconstruction, over the squared norm of x_t';
