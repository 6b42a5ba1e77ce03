-- Grain: a forward pass on a changed sequence, read at one query position.
CREATE TABLE interventions (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair INTEGER NOT NULL,
    experiment VARCHAR NOT NULL CHECK (experiment IN ('insertion', 'replacement', 'counting')),
    arm VARCHAR NOT NULL CHECK (arm IN ('none', 'distractor', 'control', 'grid')),
    seq_id INTEGER NOT NULL,
    query_pos INTEGER NOT NULL,
    key_pos INTEGER,
    n_key INTEGER NOT NULL,
    n_changed INTEGER NOT NULL,
    token_id INTEGER,
    activation FLOAT NOT NULL,
    attention_to_key FLOAT,
    attention_to_changed FLOAT,
    distractor_activation FLOAT,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE interventions IS 'What the model did on changed sequences: copies of a token inserted after BOS, or tokens replaced';
COMMENT ON COLUMN interventions.layer IS 'Layer, 0-based';
COMMENT ON COLUMN interventions.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN interventions.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN interventions.scaling IS 'Scaling of the rule that is tested';
COMMENT ON COLUMN interventions.pair IS 'Pair of the rule that is tested: with feature and scaling, a row of distractors or counting_rules';
COMMENT ON COLUMN interventions.experiment IS 'insertion of the distractor, replacement of a real distractor, or the counting grid';
COMMENT ON COLUMN interventions.arm IS 'none: the sequence as it is; distractor: its token inserted, or its own occurrences replaced; control: a neutral token inserted (counting: as many as the grid inserts), or other tokens replaced; grid: copies of the key and its opponent inserted';
COMMENT ON COLUMN interventions.seq_id IS 'Sequence (row of the corpus) that was changed';
COMMENT ON COLUMN interventions.query_pos IS 'Query position in the unchanged sequence; the insertions move it to the right';
COMMENT ON COLUMN interventions.key_pos IS 'Key position in the unchanged sequence; NULL for the counting grid';
COMMENT ON COLUMN interventions.n_key IS 'Copies of the token of the key that were inserted';
COMMENT ON COLUMN interventions.n_changed IS 'Copies of token_id that were inserted, or positions at which it was put';
COMMENT ON COLUMN interventions.token_id IS 'Token that was inserted or put in place; NULL where n_changed is 0';
COMMENT ON COLUMN interventions.activation IS 'Activation of the output feature at the query';
COMMENT ON COLUMN interventions.attention_to_key IS 'Attention of the query to the key position (counting: to the inserted copies of the key)';
COMMENT ON COLUMN interventions.attention_to_changed IS 'Attention of the query to the inserted or replaced positions, summed; NULL where there are none';
COMMENT ON COLUMN interventions.distractor_activation IS 'Mean activation of the distractor feature at the inserted or replaced positions; NULL where there are none';
COMMENT ON COLUMN interventions.run_id IS 'Run that measured it';
