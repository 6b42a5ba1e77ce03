-- Grain: an output feature of a head, or of a whole layer.
CREATE TABLE output_features (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    n_sequences INTEGER NOT NULL,
    n_tokens BIGINT NOT NULL,
    mean_activation DOUBLE,
    mean_max_activation DOUBLE,
    max_activation DOUBLE,
    description VARCHAR,
    encoder FLOAT[$d_head],
    bias DOUBLE NOT NULL,
    preactivation_bias DOUBLE NOT NULL
);
COMMENT ON TABLE output_features IS 'How often an output feature fires, and the weights that read it off the output of the head, or of all heads of the layer';
COMMENT ON COLUMN output_features.layer IS 'Layer, 0-based';
COMMENT ON COLUMN output_features.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN output_features.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN output_features.n_sequences IS 'n_active: sequences in which it is active at any position, BOS included';
COMMENT ON COLUMN output_features.n_tokens IS 'Tokens at which it is active, BOS included';
COMMENT ON COLUMN output_features.mean_activation IS 'Mean activation over its active tokens, NULL where it never fires';
COMMENT ON COLUMN output_features.mean_max_activation IS 'Mean over its active sequences of the largest activation in the sequence';
COMMENT ON COLUMN output_features.max_activation IS 'Largest activation, NULL where it never fires';
COMMENT ON COLUMN output_features.description IS 'What it fires on: the tokens of largest lift (output_feature_tokens); where none has 5 active positions, those of the largest share of its activation';
COMMENT ON COLUMN output_features.encoder IS 'w_f: effective encoder column of the output SAE, for which pre-activation = z . w_f + preactivation_bias and an activation is 0 or its pre-activation; NULL where the SAE reads the whole layer (head -1), whose parts for each head are in feature_heads';
COMMENT ON COLUMN output_features.bias IS 'b_f: effective encoder bias of the output SAE';
COMMENT ON COLUMN output_features.preactivation_bias IS 'b_f - b_dec . w_f where the SAE centres its input, b_f otherwise, and the value bias . w_f where it reads the unprocessed model: pre-activation = z . w_f + preactivation_bias. Of an SAE over the whole layer, z . w_f is the sum over its heads, and b_O . w_f is added where it reads hook_attn_out';
