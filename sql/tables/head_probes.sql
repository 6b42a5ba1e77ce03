-- Grain: a role of a head, measured on the model.
CREATE TABLE head_probes (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    role VARCHAR NOT NULL CHECK (role IN ('previous_token', 'duplicate_token', 'induction', 'bos', 'self')),
    attention DOUBLE NOT NULL,
    attention_low DOUBLE,
    attention_high DOUBLE,
    n_tokens INTEGER NOT NULL,
    n_sequences INTEGER NOT NULL,
    seed BIGINT NOT NULL
);
COMMENT ON TABLE head_probes IS 'How much each head attends where on repeated random tokens (BOS, r, r), read from the model by attnrules intervene --probe (method.md section 14.2)';
COMMENT ON COLUMN head_probes.layer IS 'Layer, 0-based';
COMMENT ON COLUMN head_probes.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN head_probes.role IS 'Key that is attended to: previous_token, duplicate_token (the earlier copy), induction (what followed the earlier copy), bos, self';
COMMENT ON COLUMN head_probes.attention IS 'Attention to this key, mean over the positions of the second r';
COMMENT ON COLUMN head_probes.attention_low IS 'Lower end of its 95% interval over sequences; NULL for fewer than two';
COMMENT ON COLUMN head_probes.attention_high IS 'Upper end of its 95% interval over sequences; NULL for fewer than two';
COMMENT ON COLUMN head_probes.n_tokens IS 'Random tokens in r';
COMMENT ON COLUMN head_probes.n_sequences IS 'Sequences that were run';
COMMENT ON COLUMN head_probes.seed IS 'What the tokens were drawn with';
