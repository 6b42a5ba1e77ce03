-- Grain: a pair whose distractor outranks its key, tested by intervention.
CREATE TABLE absence_tests (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair INTEGER NOT NULL,
    status VARCHAR NOT NULL,
    distractor_token_id INTEGER,
    control_token_ids INTEGER[],
    n_examples INTEGER NOT NULL,
    distractor_activations DOUBLE[],
    control_activations DOUBLE[],
    distractor_fires DOUBLE,
    key_attention DOUBLE,
    key_attention_distractor DOUBLE,
    key_attention_control DOUBLE,
    inserted_attention_distractor DOUBLE,
    inserted_attention_control DOUBLE,
    fall DOUBLE,
    fall_low DOUBLE,
    fall_high DOUBLE,
    control_fall DOUBLE,
    excess_fall DOUBLE,
    excess_low DOUBLE,
    excess_high DOUBLE,
    n_replaced INTEGER NOT NULL,
    rise DOUBLE,
    control_rise DOUBLE,
    excess_rise DOUBLE,
    excess_rise_low DOUBLE,
    excess_rise_high DOUBLE,
    confirmed BOOLEAN NOT NULL,
    chance_confirmed DOUBLE,
    run_id INTEGER NOT NULL,
    distractor_token_ids INTEGER[],
    p_value DOUBLE,
    q_value DOUBLE
);
COMMENT ON TABLE absence_tests IS 'Outcome of the interventions on absence rules';
COMMENT ON COLUMN absence_tests.layer IS 'Layer, 0-based';
COMMENT ON COLUMN absence_tests.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN absence_tests.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN absence_tests.scaling IS 'Scaling of the rule that is tested';
COMMENT ON COLUMN absence_tests.pair IS 'Pair of the row of distractors that was tested';
COMMENT ON COLUMN absence_tests.status IS 'tested, or why not: no active example, no distractor token, no neutral token';
COMMENT ON COLUMN absence_tests.distractor_token_id IS 'Token that excites the distractor most, the first of distractor_token_ids';
COMMENT ON COLUMN absence_tests.control_token_ids IS 'Neutral tokens: none of key, distractor and query ever fires on them; nearest in corpus frequency to the distractor tokens in turn';
COMMENT ON COLUMN absence_tests.n_examples IS 'Sequences in which tokens were inserted';
COMMENT ON COLUMN absence_tests.distractor_activations IS 'Mean activation of the output feature with 0, 1, 2, ... copies of the distractor token inserted';
COMMENT ON COLUMN absence_tests.control_activations IS 'The same with neutral tokens';
COMMENT ON COLUMN absence_tests.distractor_fires IS 'Share of inserted distractor tokens on which the distractor feature fires';
COMMENT ON COLUMN absence_tests.key_attention IS 'Mean attention to the key in the sequences as they are';
COMMENT ON COLUMN absence_tests.key_attention_distractor IS 'Mean attention to the key with distractors inserted, over the numbers of copies';
COMMENT ON COLUMN absence_tests.key_attention_control IS 'The same with neutral tokens';
COMMENT ON COLUMN absence_tests.inserted_attention_distractor IS 'Mean attention to the inserted distractors together';
COMMENT ON COLUMN absence_tests.inserted_attention_control IS 'The same for neutral tokens';
COMMENT ON COLUMN absence_tests.fall IS 'Mean fall of the activation when distractors are inserted, over the numbers of copies';
COMMENT ON COLUMN absence_tests.fall_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN absence_tests.fall_high IS 'Upper end';
COMMENT ON COLUMN absence_tests.control_fall IS 'The same fall when neutral tokens are inserted';
COMMENT ON COLUMN absence_tests.excess_fall IS 'fall minus control_fall, in the same sequences';
COMMENT ON COLUMN absence_tests.excess_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN absence_tests.excess_high IS 'Upper end';
COMMENT ON COLUMN absence_tests.n_replaced IS 'Sequences with a real distractor in which it was replaced';
COMMENT ON COLUMN absence_tests.rise IS 'Mean rise of the activation when the real distractors are replaced by a neutral token';
COMMENT ON COLUMN absence_tests.control_rise IS 'The same rise when as many other tokens are replaced';
COMMENT ON COLUMN absence_tests.excess_rise IS 'rise minus control_rise, in the same sequences';
COMMENT ON COLUMN absence_tests.excess_rise_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN absence_tests.excess_rise_high IS 'Upper end';
COMMENT ON COLUMN absence_tests.confirmed IS 'Whether fall_low and excess_low exceed 1% of the activation, and q_value is at most 0.2; in files of before, the token had to lower it more than each neutral one instead';
COMMENT ON COLUMN absence_tests.chance_confirmed IS 'How likely its q_value is to be at most 0.2 if it does not matter which of its tokens are the distractor''s: what chance confirms, to be averaged over like cases (absence_summary.chance_share); NULL where not known';
COMMENT ON COLUMN absence_tests.run_id IS 'Run that tested it';
COMMENT ON COLUMN absence_tests.distractor_token_ids IS 'Tokens that stand for the distractor, each inserted in all sequences; NULL in files of before, which inserted one';
COMMENT ON COLUMN absence_tests.p_value IS 'Share of the ways to choose as many of the distractor and neutral tokens that lower the activation at least as much; NULL in files of before';
COMMENT ON COLUMN absence_tests.q_value IS 'Least false discovery rate at which it is found among the tests of its head and run (Benjamini and Hochberg), 1 where the intervals do not exceed 1% of the activation; NULL in files of before';
