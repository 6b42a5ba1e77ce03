-- Grain: a head.
CREATE TABLE heads (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    attn_scale DOUBLE NOT NULL,
    b_Q FLOAT[$d_head] NOT NULL,
    b_K FLOAT[$d_head] NOT NULL,
    b_V FLOAT[$d_head] NOT NULL,
    decoder_bias_query FLOAT[$d_head] NOT NULL,
    decoder_bias_key FLOAT[$d_head] NOT NULL,
    decoder_bias_value FLOAT[$d_head] NOT NULL,
    kept_attention_mass DOUBLE,
    kept_attention_mass_from_features DOUBLE
);
COMMENT ON TABLE heads IS 'Biases of the head and the decoder bias of the input SAE seen through it (processed weights)';
COMMENT ON COLUMN heads.layer IS 'Layer, 0-based';
COMMENT ON COLUMN heads.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN heads.attn_scale IS 'Divisor of the attention logits of this head';
COMMENT ON COLUMN heads.b_Q IS 'Query bias; zeros where the model has none';
COMMENT ON COLUMN heads.b_K IS 'Key bias; zeros where the model has none';
COMMENT ON COLUMN heads.b_V IS 'Value bias; zeros where the model has none';
COMMENT ON COLUMN heads.decoder_bias_query IS 'b_dec W_Q: decoder bias of the input SAE through W_Q';
COMMENT ON COLUMN heads.decoder_bias_key IS 'b_dec W_K';
COMMENT ON COLUMN heads.decoder_bias_value IS 'b_dec W_V';
COMMENT ON COLUMN heads.kept_attention_mass IS 'Mean over query positions of the model attention that attention_sources keeps; NULL until the ingest is finished';
COMMENT ON COLUMN heads.kept_attention_mass_from_features IS 'The same for weight_from_features';
