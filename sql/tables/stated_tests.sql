-- Grain: a stated rule and a test of it on the model: that it suffices, or that one of its atoms is needed.
CREATE TABLE stated_tests (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('sufficient', 'necessary')),
    atom SMALLINT NOT NULL,
    status VARCHAR NOT NULL,
    n_examples INTEGER NOT NULL,
    holds_share DOUBLE,
    activation DOUBLE,
    share DOUBLE,
    share_low DOUBLE,
    share_high DOUBLE,
    control_share DOUBLE,
    largest_control_share DOUBLE,
    excess_share DOUBLE,
    excess_low DOUBLE,
    excess_high DOUBLE,
    confirmed BOOLEAN NOT NULL,
    chance_confirmed DOUBLE,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE stated_tests IS 'Stated rules tested on the model: does the feature fire where the rule is planted, does it fall where an atom of the rule is broken';
COMMENT ON COLUMN stated_tests.layer IS 'Layer, 0-based';
COMMENT ON COLUMN stated_tests.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN stated_tests.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN stated_tests.rank IS 'The rule, as in stated_rules';
COMMENT ON COLUMN stated_tests.kind IS 'sufficient: the rule is planted where it does not hold and the feature is silent; necessary: an atom is broken where the rule holds and the feature is active';
COMMENT ON COLUMN stated_tests.atom IS 'Of a necessary test the atom that is broken, as in stated_atoms; 0 for the whole rule';
COMMENT ON COLUMN stated_tests.status IS 'tested, or why not';
COMMENT ON COLUMN stated_tests.n_examples IS 'Sequences that were changed and judged, each at one position: those in which the change does to the rule what it is meant to, and a control does not';
COMMENT ON COLUMN stated_tests.holds_share IS 'Share of the changed sequences in which the rule holds: planted, only these are judged; broken, these are not';
COMMENT ON COLUMN stated_tests.activation IS 'Mean activation of the feature: with the rule planted, or before an atom is broken';
COMMENT ON COLUMN stated_tests.share IS 'Sufficient: share of the sequences in which the feature becomes active; necessary: share of the activation that is lost';
COMMENT ON COLUMN stated_tests.share_low IS 'Lower end of its 95% bootstrap interval over sequences; NULL with fewer than 5';
COMMENT ON COLUMN stated_tests.share_high IS 'Upper end';
COMMENT ON COLUMN stated_tests.control_share IS 'The same share where neutral tokens are planted at the same places, or other tokens at a like distance are replaced; mean over the controls';
COMMENT ON COLUMN stated_tests.largest_control_share IS 'The largest share of a single control';
COMMENT ON COLUMN stated_tests.excess_share IS 'share minus control_share, in the same sequences';
COMMENT ON COLUMN stated_tests.excess_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN stated_tests.excess_high IS 'Upper end';
COMMENT ON COLUMN stated_tests.confirmed IS 'Whether share_low and excess_low exceed 1%, and share exceeds that of each control';
COMMENT ON COLUMN stated_tests.chance_confirmed IS 'Share of its controls that would be confirmed in the place of the rule, the others being controls: what chance confirms, to be averaged over many tests; NULL where not known';
COMMENT ON COLUMN stated_tests.run_id IS 'Run that tested it';
