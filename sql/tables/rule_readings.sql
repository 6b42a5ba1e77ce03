-- Grain: a rule of any method, taken exactly as it is read, on a split of the set all_positions.
CREATE TABLE rule_readings (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    method VARCHAR NOT NULL,
    scaling VARCHAR NOT NULL,
    rank INTEGER NOT NULL,
    split VARCHAR NOT NULL,
    n_positions BIGINT NOT NULL,
    n_active BIGINT NOT NULL,
    n_matches BIGINT NOT NULL,
    n_match_sequences INTEGER NOT NULL,
    n_hits BIGINT NOT NULL,
    precision DOUBLE,
    precision_low DOUBLE,
    precision_high DOUBLE,
    recall DOUBLE,
    recall_low DOUBLE,
    recall_high DOUBLE,
    lift DOUBLE,
    lift_low DOUBLE,
    lift_high DOUBLE,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE rule_readings IS 'Rules taken as they are read: where the condition holds, how often the feature is active. Rules of other methods than stated mean "one of the keys anywhere up to here, one of the queries here"; their first 16 are read';
COMMENT ON COLUMN rule_readings.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rule_readings.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN rule_readings.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN rule_readings.method IS 'How the rule was found, see the table methods';
COMMENT ON COLUMN rule_readings.scaling IS 'As in rules; none for stated rules';
COMMENT ON COLUMN rule_readings.rank IS 'Place of the rule within the feature';
COMMENT ON COLUMN rule_readings.split IS 'train or test, of the set all_positions';
COMMENT ON COLUMN rule_readings.n_positions IS 'Positions of the split, each after BOS';
COMMENT ON COLUMN rule_readings.n_active IS 'Of these, those at which the feature is active';
COMMENT ON COLUMN rule_readings.n_matches IS 'Positions at which the condition holds';
COMMENT ON COLUMN rule_readings.n_match_sequences IS 'Sequences with such a position';
COMMENT ON COLUMN rule_readings.n_hits IS 'Of the matches, those at which the feature is active';
COMMENT ON COLUMN rule_readings.precision IS 'n_hits / n_matches; NULL without a match';
COMMENT ON COLUMN rule_readings.precision_low IS 'Lower end of its 95% interval, a bootstrap over sequences; NULL without a match. Where precision is 0 or 1, or fewer than 5 sequences have a match, it is Wilson''s, a sequence counting once';
COMMENT ON COLUMN rule_readings.precision_high IS 'Upper end of that interval';
COMMENT ON COLUMN rule_readings.recall IS 'n_hits / n_active; NULL where the feature is never active';
COMMENT ON COLUMN rule_readings.recall_low IS 'Lower end of its interval';
COMMENT ON COLUMN rule_readings.recall_high IS 'Upper end of that interval';
COMMENT ON COLUMN rule_readings.lift IS 'precision over n_active / n_positions';
COMMENT ON COLUMN rule_readings.lift_low IS 'Lower end of its interval, numerator and base rate drawn together';
COMMENT ON COLUMN rule_readings.lift_high IS 'Upper end of that interval';
COMMENT ON COLUMN rule_readings.run_id IS 'Run that judged it';
