-- Grain: a (key, query) pair of an output feature, with its distractor or NULLs where it has none.
CREATE TABLE distractors (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair INTEGER NOT NULL,
    through_head SMALLINT NOT NULL,
    key_feature INTEGER NOT NULL,
    query_feature INTEGER NOT NULL,
    value_score DOUBLE NOT NULL,
    attn_score DOUBLE NOT NULL,
    key_rank INTEGER NOT NULL,
    distractor_feature INTEGER,
    distractor_rank INTEGER,
    distractor_value_score DOUBLE,
    distractor_attn_score DOUBLE,
    has_distractor_key BOOLEAN NOT NULL,
    kq_count INTEGER,
    kkq_count INTEGER,
    kq_active_share DOUBLE,
    kkq_active_share DOUBLE,
    kq_mean_activation DOUBLE,
    kkq_mean_activation DOUBLE,
    matched_kq INTEGER,
    matched_kkq INTEGER,
    matched_difference DOUBLE,
    matched_low DOUBLE,
    matched_high DOUBLE,
    attn_distance INTEGER,
    distractor_attn_distance INTEGER,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE distractors IS 'Absence rules [key] ... [distractor] ... [query] -/-> feature as the weights suggest them, and what the corpus says; a pair without a distractor has NULLs from distractor_feature on';
COMMENT ON COLUMN distractors.layer IS 'Layer, 0-based';
COMMENT ON COLUMN distractors.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN distractors.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN distractors.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale and biases of the model)';
COMMENT ON COLUMN distractors.pair IS 'Place of the pair within the feature, from 1: first the pair of the paper, then the others by exp(S) V';
COMMENT ON COLUMN distractors.through_head IS 'The head whose attention and W_V key, query and distractor act through; equals head where the SAE reads one head';
COMMENT ON COLUMN distractors.key_feature IS 'Input feature i that pushes the output feature up; of pair 1 the one of largest V(f,i)';
COMMENT ON COLUMN distractors.query_feature IS 'Input feature j; of pair 1 the one of largest S(i,j)';
COMMENT ON COLUMN distractors.value_score IS 'V(f,i)';
COMMENT ON COLUMN distractors.attn_score IS 'S(i,j), in a model with rotary positions at attn_distance';
COMMENT ON COLUMN distractors.key_rank IS 'How many candidate keys a query token with j attends to more than to i (ties: by feature), 0-based rank';
COMMENT ON COLUMN distractors.distractor_feature IS 'Input feature i2: the first key in the order of S(.,j) with V(f,i2) < 0; NULL where there is none';
COMMENT ON COLUMN distractors.distractor_rank IS 'Its place in the order of S(.,j), from 0';
COMMENT ON COLUMN distractors.distractor_value_score IS 'V(f,i2), < 0';
COMMENT ON COLUMN distractors.distractor_attn_score IS 'S(i2,j), in a model with rotary positions at distractor_attn_distance';
COMMENT ON COLUMN distractors.has_distractor_key IS 'Whether the distractor outranks the key: distractor_rank < key_rank';
COMMENT ON COLUMN distractors.kq_count IS 'Sequences in which i, then j occur and the distractor does not stand at or before j; NULL without a distractor';
COMMENT ON COLUMN distractors.kkq_count IS 'The same with the distractor at or before j';
COMMENT ON COLUMN distractors.kq_active_share IS 'Share of the stored examples without distractor at which the output feature is active';
COMMENT ON COLUMN distractors.kkq_active_share IS 'The same with the distractor';
COMMENT ON COLUMN distractors.kq_mean_activation IS 'Mean activation of the output feature over the stored examples without distractor';
COMMENT ON COLUMN distractors.kkq_mean_activation IS 'The same with the distractor';
COMMENT ON COLUMN distractors.matched_kq IS 'Stored examples without distractor in strata that hold both kinds';
COMMENT ON COLUMN distractors.matched_kkq IS 'The same with the distractor';
COMMENT ON COLUMN distractors.matched_difference IS 'Mean activation with the distractor minus without, matched for the activation of the key and the distance from key to query; < 0 where the distractor suppresses';
COMMENT ON COLUMN distractors.matched_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN distractors.matched_high IS 'Upper end';
COMMENT ON COLUMN distractors.attn_distance IS 'The distance q - k that S is of: of those at which the head attends most, the one where it is largest; NULL where S is the same at every distance, and in files of earlier versions, whose S is at distance 0';
COMMENT ON COLUMN distractors.distractor_attn_distance IS 'The same of the distractor';
COMMENT ON COLUMN distractors.run_id IS 'Run that found it';
