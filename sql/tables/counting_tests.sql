-- Grain: a counting rule, tested by intervention.
CREATE TABLE counting_tests (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair INTEGER NOT NULL,
    status VARCHAR NOT NULL,
    key_token_id INTEGER,
    opponent_token_id INTEGER,
    neutral_token_id INTEGER,
    n_examples INTEGER NOT NULL,
    agreement DOUBLE,
    presence_agreement DOUBLE,
    information DOUBLE,
    presence_information DOUBLE,
    information_gain DOUBLE,
    gain_low DOUBLE,
    gain_high DOUBLE,
    excess_active DOUBLE,
    excess_low DOUBLE,
    excess_high DOUBLE,
    confirmed BOOLEAN NOT NULL,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE counting_tests IS 'Outcome of the counting grid: copies of the key and of the opponent inserted into sequences that hold neither';
COMMENT ON COLUMN counting_tests.layer IS 'Layer, 0-based';
COMMENT ON COLUMN counting_tests.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN counting_tests.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN counting_tests.scaling IS 'Scaling of the scores that chose the pair: paper or model';
COMMENT ON COLUMN counting_tests.pair IS 'Pair of the row of counting_rules that was tested';
COMMENT ON COLUMN counting_tests.status IS 'tested, or why not: no example, no key token, no opponent token, no neutral token, beyond the grid (the rule predicts the feature in none of its cells)';
COMMENT ON COLUMN counting_tests.key_token_id IS 'Token that excites the key most';
COMMENT ON COLUMN counting_tests.opponent_token_id IS 'Token that excites the opponent most';
COMMENT ON COLUMN counting_tests.neutral_token_id IS 'Token on which neither key, opponent nor query ever fires, nearest in frequency to that of the key';
COMMENT ON COLUMN counting_tests.n_examples IS 'Sequences in which tokens were inserted';
COMMENT ON COLUMN counting_tests.agreement IS 'Share of the cells of the grid in which the counting rule says rightly whether the feature is active';
COMMENT ON COLUMN counting_tests.presence_agreement IS 'The same for the presence rule';
COMMENT ON COLUMN counting_tests.information IS 'Mutual information between the rule and the activity of the feature over the cells, bits a cell';
COMMENT ON COLUMN counting_tests.presence_information IS 'The same for the presence rule';
COMMENT ON COLUMN counting_tests.information_gain IS 'information minus presence_information';
COMMENT ON COLUMN counting_tests.gain_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN counting_tests.gain_high IS 'Upper end';
COMMENT ON COLUMN counting_tests.excess_active IS 'Share of cells with the feature active where the rule predicts it, less the same share with as many neutral tokens inserted';
COMMENT ON COLUMN counting_tests.excess_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN counting_tests.excess_high IS 'Upper end';
COMMENT ON COLUMN counting_tests.confirmed IS 'Whether counting tells more of the grid than presence and more than neutral tokens do: gain_low and excess_low above 0';
COMMENT ON COLUMN counting_tests.run_id IS 'Run that tested it';
