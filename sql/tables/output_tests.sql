-- Grain: an output feature whose contribution was taken away from the model.
CREATE TABLE output_tests (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    status VARCHAR NOT NULL,
    n_examples INTEGER NOT NULL,
    n_controlled INTEGER NOT NULL,
    mean_activation DOUBLE,
    final_scale DOUBLE,
    promoted_raise DOUBLE,
    promoted_raise_low DOUBLE,
    promoted_raise_high DOUBLE,
    promoted_excess DOUBLE,
    promoted_excess_low DOUBLE,
    promoted_excess_high DOUBLE,
    next_raise DOUBLE,
    next_raise_low DOUBLE,
    next_raise_high DOUBLE,
    next_excess DOUBLE,
    next_excess_low DOUBLE,
    next_excess_high DOUBLE,
    n_tokens INTEGER NOT NULL,
    n_confirmed INTEGER NOT NULL,
    n_random INTEGER NOT NULL,
    n_random_confirmed INTEGER NOT NULL,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE output_tests IS 'What an output feature does to the log-probabilities of next tokens, tested on the model (method.md section 12.3)';
COMMENT ON COLUMN output_tests.layer IS 'Layer, 0-based';
COMMENT ON COLUMN output_tests.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN output_tests.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN output_tests.status IS 'tested, or why not: never active, no effect (its decoder writes nothing)';
COMMENT ON COLUMN output_tests.n_examples IS 'Active positions at which its contribution was taken away, one of a sequence';
COMMENT ON COLUMN output_tests.n_controlled IS 'Of these, positions at which another feature of the head was active too, whose contribution was taken away instead';
COMMENT ON COLUMN output_tests.mean_activation IS 'Mean activation at these positions';
COMMENT ON COLUMN output_tests.final_scale IS 'Mean scale of the final norm at these positions, by which output_tokens.effect is divided';
COMMENT ON COLUMN output_tests.promoted_raise IS 'Log-probability in the model as it is less that without the contribution, in nats: mean over the promoted tokens among those watched, then over positions';
COMMENT ON COLUMN output_tests.promoted_raise_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN output_tests.promoted_raise_high IS 'Upper end';
COMMENT ON COLUMN output_tests.promoted_excess IS 'The same less what the control raises, at the positions that have one';
COMMENT ON COLUMN output_tests.promoted_excess_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN output_tests.promoted_excess_high IS 'Upper end';
COMMENT ON COLUMN output_tests.next_raise IS 'The same of the token that follows in the corpus';
COMMENT ON COLUMN output_tests.next_raise_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN output_tests.next_raise_high IS 'Upper end';
COMMENT ON COLUMN output_tests.next_excess IS 'The same less what the control raises';
COMMENT ON COLUMN output_tests.next_excess_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN output_tests.next_excess_high IS 'Upper end';
COMMENT ON COLUMN output_tests.n_tokens IS 'Tokens watched: the first 10 by weights and the first 10 in the corpus';
COMMENT ON COLUMN output_tests.n_confirmed IS 'Of these, tokens that the feature raises for certain: output_token_tests.confirmed';
COMMENT ON COLUMN output_tests.n_random IS 'Tokens drawn at random and watched too, for comparison';
COMMENT ON COLUMN output_tests.n_random_confirmed IS 'Of these, tokens that would be confirmed';
COMMENT ON COLUMN output_tests.run_id IS 'Run that measured it';
