-- Grain: a rule of an output feature under a method.
CREATE TABLE rules (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    method VARCHAR NOT NULL,
    scaling VARCHAR NOT NULL,
    rank INTEGER NOT NULL,
    through_head SMALLINT NOT NULL,
    key_feature INTEGER NOT NULL,
    query_feature INTEGER,
    attn_score DOUBLE,
    value_score DOUBLE NOT NULL,
    score DOUBLE NOT NULL,
    support_positions BIGINT,
    support_sequences INTEGER,
    contribution DOUBLE,
    precision DOUBLE,
    recall DOUBLE,
    lift DOUBLE,
    lift_low DOUBLE,
    lift_high DOUBLE,
    attn_distance INTEGER,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE rules IS 'Skip-gram rules [key_feature] ... [query_feature] -> feature, ranked; rows of one list that share a rank are one rule';
COMMENT ON COLUMN rules.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rules.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN rules.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN rules.method IS 'How the rules were found and ranked, see the table methods';
COMMENT ON COLUMN rules.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale, biases and layer norm of the model)';
COMMENT ON COLUMN rules.rank IS 'Place within the feature, from 1; the keys of one group share it (weighted_groups), and the pairs of its keys and queries (weighted_gates: any key with any query)';
COMMENT ON COLUMN rules.through_head IS 'The head whose attention and W_V the rule acts through; equals head where the SAE reads one head';
COMMENT ON COLUMN rules.key_feature IS 'Input feature i, active at some position k <= q';
COMMENT ON COLUMN rules.query_feature IS 'Input feature j, active at q; NULL where the rule has no query';
COMMENT ON COLUMN rules.attn_score IS 'S(i,j), in a model with rotary positions at attn_distance; NULL where the rule has no query';
COMMENT ON COLUMN rules.value_score IS 'V(f,i)';
COMMENT ON COLUMN rules.score IS 'What the rule was ranked by; infinite where exp(S) exceeds a double';
COMMENT ON COLUMN rules.support_positions IS 'Positions where the feature is active, the query too, and the key at a position attended to; of method mined';
COMMENT ON COLUMN rules.support_sequences IS 'Sequences with such a position';
COMMENT ON COLUMN rules.contribution IS 'Mean over these positions of the sum over keys of A[q,k] a[k,i] V(f,i)';
COMMENT ON COLUMN rules.precision IS 'Of all positions of the corpus where the rule matches (key at k <= q, query at q), the share where the feature is active';
COMMENT ON COLUMN rules.recall IS 'Of all positions where the feature is active, the share where the rule matches';
COMMENT ON COLUMN rules.lift IS 'precision over the share of all positions where the feature is active';
COMMENT ON COLUMN rules.lift_low IS 'Lower end of the 95% interval of lift (Wilson, positions taken as independent)';
COMMENT ON COLUMN rules.lift_high IS 'Upper end of that interval';
COMMENT ON COLUMN rules.attn_distance IS 'The distance q - k that S is of: of those at which the head attends most, the one where it is largest; NULL where S is the same at every distance, and in files of earlier versions, whose S is at distance 0';
COMMENT ON COLUMN rules.run_id IS 'Run that found it';
