-- Grain: a role of a head.
CREATE TABLE head_roles (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    role VARCHAR NOT NULL CHECK (role IN ('previous_token', 'duplicate_token', 'induction', 'bos', 'self')),
    attention DOUBLE,
    attention_low DOUBLE,
    attention_high DOUBLE,
    control DOUBLE,
    control_from VARCHAR NOT NULL CHECK (control_from IN ('distance', 'uniform')),
    n_positions BIGINT NOT NULL,
    n_sequences BIGINT NOT NULL
);
COMMENT ON TABLE head_roles IS 'How much each head attends to the previous token, to an earlier copy of the token, to what followed it, to BOS and to itself, on the stored sequences (method.md section 14.1). Attention that is not stored counts as 0: heads.kept_attention_mass says how much is';
COMMENT ON COLUMN head_roles.layer IS 'Layer, 0-based';
COMMENT ON COLUMN head_roles.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN head_roles.role IS 'Keys that are attended to: previous_token, duplicate_token (earlier copies of the token), induction (what followed an earlier copy), bos (position 0), self';
COMMENT ON COLUMN head_roles.attention IS 'Attention to these keys together, mean over the query positions that have one; NULL where none has';
COMMENT ON COLUMN head_roles.attention_low IS 'Lower end of its 95% interval over sequences; NULL for fewer than two';
COMMENT ON COLUMN head_roles.attention_high IS 'Upper end of its 95% interval over sequences; NULL for fewer than two';
COMMENT ON COLUMN head_roles.control IS 'What the same keys would get if only distance counted, or if all positions got as much: see control_from';
COMMENT ON COLUMN head_roles.control_from IS 'distance: the mean attention of the head to keys so far away; uniform: one divided by the number of positions, for roles that are a distance or a position themselves';
COMMENT ON COLUMN head_roles.n_positions IS 'Query positions, from position 2, that have such a key';
COMMENT ON COLUMN head_roles.n_sequences IS 'Sequences that they are in';
