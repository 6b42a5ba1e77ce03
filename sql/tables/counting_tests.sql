-- Grain: a counting rule, tested by intervention.
CREATE TABLE counting_tests (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair UINTEGER NOT NULL,
    status VARCHAR NOT NULL,
    key_token_id UINTEGER,
    opponent_token_id UINTEGER,
    n_examples UINTEGER NOT NULL,
    agreement DOUBLE,
    presence_agreement DOUBLE,
    advantage DOUBLE,
    advantage_low DOUBLE,
    advantage_high DOUBLE,
    confirmed BOOLEAN NOT NULL,
    run_id UINTEGER NOT NULL
);
COMMENT ON TABLE counting_tests IS 'Outcome of the counting grid: copies of the key and of the opponent inserted into sequences that hold neither';
COMMENT ON COLUMN counting_tests.layer IS 'Layer, 0-based';
COMMENT ON COLUMN counting_tests.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN counting_tests.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN counting_tests.scaling IS 'Scaling of the scores that chose the pair: paper or model';
COMMENT ON COLUMN counting_tests.pair IS 'Pair of the row of counting_rules that was tested';
COMMENT ON COLUMN counting_tests.status IS 'tested, or why not: no example, no key token, no opponent token';
COMMENT ON COLUMN counting_tests.key_token_id IS 'Token that excites the key most';
COMMENT ON COLUMN counting_tests.opponent_token_id IS 'Token that excites the opponent most';
COMMENT ON COLUMN counting_tests.n_examples IS 'Sequences in which tokens were inserted';
COMMENT ON COLUMN counting_tests.agreement IS 'Share of the cells of the grid in which the counting rule says rightly whether the feature is active';
COMMENT ON COLUMN counting_tests.presence_agreement IS 'The same for the presence rule';
COMMENT ON COLUMN counting_tests.advantage IS 'agreement minus presence_agreement, in the same sequences';
COMMENT ON COLUMN counting_tests.advantage_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN counting_tests.advantage_high IS 'Upper end';
COMMENT ON COLUMN counting_tests.confirmed IS 'Whether counting describes the grid better than presence: advantage_low above 0';
COMMENT ON COLUMN counting_tests.run_id IS 'Run that tested it';
