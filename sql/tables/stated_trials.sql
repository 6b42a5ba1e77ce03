-- Grain: a forward pass on a sequence that was changed to test a stated rule, read at one position.
CREATE TABLE stated_trials (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('sufficient', 'necessary')),
    atom SMALLINT NOT NULL,
    arm VARCHAR NOT NULL CHECK (arm IN ('none', 'rule', 'control')),
    control SMALLINT,
    seq_id INTEGER NOT NULL,
    query_pos INTEGER NOT NULL,
    positions INTEGER[] NOT NULL,
    token_ids INTEGER[] NOT NULL,
    holds BOOLEAN,
    activation FLOAT NOT NULL,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE stated_trials IS 'What the model did on sequences that were changed to test stated rules: tokens put in the place of others, none inserted';
COMMENT ON COLUMN stated_trials.layer IS 'Layer, 0-based';
COMMENT ON COLUMN stated_trials.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN stated_trials.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN stated_trials.rank IS 'The rule, as in stated_rules';
COMMENT ON COLUMN stated_trials.kind IS 'The test, as in stated_tests';
COMMENT ON COLUMN stated_trials.atom IS 'The atom that is broken, as in stated_tests; 0 for the whole rule, and for sequences as they are';
COMMENT ON COLUMN stated_trials.arm IS 'none: the sequence as it is; rule: the rule planted, or the atom broken; control: neutral tokens at the same places, or other tokens replaced';
COMMENT ON COLUMN stated_trials.control IS 'Number of the control, from 1; NULL for other arms';
COMMENT ON COLUMN stated_trials.seq_id IS 'Sequence (row of the corpus) that was changed';
COMMENT ON COLUMN stated_trials.query_pos IS 'Position at which the feature was read';
COMMENT ON COLUMN stated_trials.positions IS 'Positions whose tokens were replaced';
COMMENT ON COLUMN stated_trials.token_ids IS 'The tokens put there, in the same order';
COMMENT ON COLUMN stated_trials.holds IS 'Whether the rule holds in the changed sequence, read as anywhere; NULL where atoms fail that were not to be broken, which says nothing. In files of before of planted tokens alone, whether they fire its input features';
COMMENT ON COLUMN stated_trials.activation IS 'Activation of the feature at query_pos';
COMMENT ON COLUMN stated_trials.run_id IS 'Run that measured it';
