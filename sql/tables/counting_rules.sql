-- Grain: a pair of an output feature that counting explains better than presence and than the position in the sequence.
CREATE TABLE counting_rules (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair INTEGER NOT NULL,
    through_head SMALLINT NOT NULL,
    key_feature INTEGER NOT NULL,
    query_feature INTEGER NOT NULL,
    opponent_feature INTEGER,
    key_weight SMALLINT NOT NULL,
    opponent_weight SMALLINT NOT NULL,
    threshold INTEGER NOT NULL,
    n_positions BIGINT NOT NULL,
    n_active BIGINT NOT NULL,
    precision DOUBLE NOT NULL,
    recall DOUBLE NOT NULL,
    f1 DOUBLE NOT NULL,
    information DOUBLE NOT NULL,
    presence VARCHAR NOT NULL,
    presence_precision DOUBLE NOT NULL,
    presence_recall DOUBLE NOT NULL,
    presence_f1 DOUBLE NOT NULL,
    presence_information DOUBLE NOT NULL,
    skipgram_f1 DOUBLE NOT NULL,
    skipgram_information DOUBLE NOT NULL,
    information_gain DOUBLE NOT NULL,
    gain_low DOUBLE NOT NULL,
    gain_high DOUBLE NOT NULL,
    position_side VARCHAR CHECK (position_side IN ('from', 'up to')),
    position_threshold INTEGER,
    position_precision DOUBLE,
    position_recall DOUBLE,
    position_f1 DOUBLE,
    position_information DOUBLE,
    position_gain DOUBLE,
    position_gain_low DOUBLE,
    position_gain_high DOUBLE,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE counting_rules IS 'Rules f iff key_weight * c - opponent_weight * c2 >= threshold at a query, kept where they beat presence, and the position in the sequence, on held-out sequences';
COMMENT ON COLUMN counting_rules.layer IS 'Layer, 0-based';
COMMENT ON COLUMN counting_rules.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN counting_rules.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN counting_rules.scaling IS 'Scaling of the scores that chose the pair: paper or model';
COMMENT ON COLUMN counting_rules.pair IS 'Place of the pair within the feature, from 1, as in distractors';
COMMENT ON COLUMN counting_rules.through_head IS 'The head whose attention and W_V key, query and opponent act through; equals head where the SAE reads one head';
COMMENT ON COLUMN counting_rules.key_feature IS 'Input feature i, counted as c';
COMMENT ON COLUMN counting_rules.query_feature IS 'Input feature j, active at the position';
COMMENT ON COLUMN counting_rules.opponent_feature IS 'Input feature i2, counted as c2; NULL where the rule counts keys only';
COMMENT ON COLUMN counting_rules.key_weight IS 'Weight of c';
COMMENT ON COLUMN counting_rules.opponent_weight IS 'Weight of c2, 0 without an opponent';
COMMENT ON COLUMN counting_rules.threshold IS 'What the weighted difference must reach';
COMMENT ON COLUMN counting_rules.n_positions IS 'Test positions at which the query is active';
COMMENT ON COLUMN counting_rules.n_active IS 'Those at which the output feature is active';
COMMENT ON COLUMN counting_rules.precision IS 'Precision of the rule on test; 1 where nothing is predicted';
COMMENT ON COLUMN counting_rules.recall IS 'Its recall; 1 where nothing is active';
COMMENT ON COLUMN counting_rules.f1 IS 'Its F1';
COMMENT ON COLUMN counting_rules.information IS 'Mutual information between its prediction and the activity of the feature, bits a position; 0 where it predicts the contrary';
COMMENT ON COLUMN counting_rules.presence IS 'The presence rule it is compared with, the better one on train: key (the plain skip-gram) or key without opponent';
COMMENT ON COLUMN counting_rules.presence_precision IS 'Precision of the presence rule on test; 1 where nothing is predicted';
COMMENT ON COLUMN counting_rules.presence_recall IS 'Its recall; 1 where nothing is active';
COMMENT ON COLUMN counting_rules.presence_f1 IS 'Its F1';
COMMENT ON COLUMN counting_rules.presence_information IS 'Mutual information between its prediction and the activity of the feature, bits a position; 0 where it predicts the contrary';
COMMENT ON COLUMN counting_rules.skipgram_f1 IS 'F1 of the plain skip-gram on test';
COMMENT ON COLUMN counting_rules.skipgram_information IS 'Information of the plain skip-gram on test, bits a position';
COMMENT ON COLUMN counting_rules.information_gain IS 'information minus presence_information';
COMMENT ON COLUMN counting_rules.gain_low IS 'Lower end of its 95% bootstrap interval over sequences, > 0';
COMMENT ON COLUMN counting_rules.gain_high IS 'Upper end';
COMMENT ON COLUMN counting_rules.position_side IS 'Side of the position rule that tells most on train: from (active from position_threshold on) or up to; NULL, as in the columns below, where a version before 3 mined the rule and the position is not known to have been compared';
COMMENT ON COLUMN counting_rules.position_threshold IS 'Position in the sequence, 0-based, at which the position rule turns';
COMMENT ON COLUMN counting_rules.position_precision IS 'Precision of the position rule on test; 1 where nothing is predicted';
COMMENT ON COLUMN counting_rules.position_recall IS 'Its recall; 1 where nothing is active';
COMMENT ON COLUMN counting_rules.position_f1 IS 'Its F1';
COMMENT ON COLUMN counting_rules.position_information IS 'Mutual information between its prediction and the activity of the feature, bits a position; 0 where it predicts the contrary';
COMMENT ON COLUMN counting_rules.position_gain IS 'information minus position_information';
COMMENT ON COLUMN counting_rules.position_gain_low IS 'Lower end of its 95% bootstrap interval over sequences, > 0';
COMMENT ON COLUMN counting_rules.position_gain_high IS 'Upper end';
COMMENT ON COLUMN counting_rules.run_id IS 'Run that found it';
