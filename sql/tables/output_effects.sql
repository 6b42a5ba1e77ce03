-- Grain: an output feature of a head and its direct effect on the logits of all tokens, from the weights alone.
CREATE TABLE output_effects (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    n_kept INTEGER NOT NULL,
    write_norm DOUBLE NOT NULL,
    deviation DOUBLE NOT NULL,
    kurtosis DOUBLE
);
COMMENT ON TABLE output_effects IS 'How an output feature acts on the logits of all tokens directly, from the weights alone (method.md section 12.1)';
COMMENT ON COLUMN output_effects.layer IS 'Layer, 0-based';
COMMENT ON COLUMN output_effects.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN output_effects.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN output_effects.n_kept IS 'Tokens kept of each side in output_tokens, at most';
COMMENT ON COLUMN output_effects.write_norm IS 'Length of u_f, what one unit of its activation adds to what the head writes';
COMMENT ON COLUMN output_effects.deviation IS 'Standard deviation of the effects over the tokens, in the unit of output_tokens.effect';
COMMENT ON COLUMN output_effects.kurtosis IS 'Kurtosis of the effects over the tokens, 3 for a normal distribution; NULL where the feature has no effect. Not above unembedding.random_kurtosis: it says nothing directly';
