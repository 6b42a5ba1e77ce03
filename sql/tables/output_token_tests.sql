-- Grain: an output feature whose contribution was taken away, and a token whose log-probability was watched.
CREATE TABLE output_token_tests (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    token_id INTEGER NOT NULL,
    watched VARCHAR NOT NULL CHECK (watched IN ('weights', 'corpus', 'both', 'random')),
    raise DOUBLE NOT NULL,
    raise_low DOUBLE,
    raise_high DOUBLE,
    excess DOUBLE,
    excess_low DOUBLE,
    excess_high DOUBLE,
    confirmed BOOLEAN NOT NULL,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE output_token_tests IS 'What an output feature does to the log-probability of one next token, tested on the model (method.md section 12.3)';
COMMENT ON COLUMN output_token_tests.layer IS 'Layer, 0-based';
COMMENT ON COLUMN output_token_tests.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN output_token_tests.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN output_token_tests.token_id IS 'Token whose log-probability was watched';
COMMENT ON COLUMN output_token_tests.watched IS 'Why: among the first promoted by weights, among the first in the corpus, both, or drawn at random for comparison';
COMMENT ON COLUMN output_token_tests.raise IS 'Log-probability in the model as it is less that without the contribution, in nats, mean over positions';
COMMENT ON COLUMN output_token_tests.raise_low IS 'Lower end of its 95% bootstrap interval over sequences; NULL with fewer than 5';
COMMENT ON COLUMN output_token_tests.raise_high IS 'Upper end';
COMMENT ON COLUMN output_token_tests.excess IS 'The same less what the control raises, at the positions that have one';
COMMENT ON COLUMN output_token_tests.excess_low IS 'Lower end of its 95% bootstrap interval over sequences; NULL with fewer than 5';
COMMENT ON COLUMN output_token_tests.excess_high IS 'Upper end';
COMMENT ON COLUMN output_token_tests.confirmed IS 'Whether raise_low and excess_low are both above 0.01 nats';
COMMENT ON COLUMN output_token_tests.run_id IS 'Run that measured it';
