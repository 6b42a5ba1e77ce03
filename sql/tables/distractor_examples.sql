-- Grain: a sequence in which a key and later a query of a pair occur, with or without the distractor between.
CREATE TABLE distractor_examples (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair INTEGER NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('no_distractor', 'has_distractor')),
    seq_id INTEGER NOT NULL,
    key_pos INTEGER NOT NULL,
    query_pos INTEGER NOT NULL,
    distractor_pos INTEGER,
    key_activation FLOAT NOT NULL,
    query_activation FLOAT NOT NULL,
    distractor_activation FLOAT,
    activation FLOAT NOT NULL
);
COMMENT ON TABLE distractor_examples IS 'Corpus examples of the pairs in distractors: a seeded draw of at most --max-examples of each kind';
COMMENT ON COLUMN distractor_examples.layer IS 'Layer, 0-based';
COMMENT ON COLUMN distractor_examples.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN distractor_examples.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN distractor_examples.scaling IS 'Scaling of the row of distractors that it belongs to';
COMMENT ON COLUMN distractor_examples.pair IS 'Pair of the row of distractors that it belongs to';
COMMENT ON COLUMN distractor_examples.kind IS 'has_distractor where the distractor stands at or before the query (at another position than the key), else no_distractor';
COMMENT ON COLUMN distractor_examples.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN distractor_examples.key_pos IS 'First position after BOS at which the key is active';
COMMENT ON COLUMN distractor_examples.query_pos IS 'First position from key_pos on at which the query is active';
COMMENT ON COLUMN distractor_examples.distractor_pos IS 'First position after BOS, up to query_pos and other than key_pos, at which the distractor is active';
COMMENT ON COLUMN distractor_examples.key_activation IS 'Activation of the key at key_pos';
COMMENT ON COLUMN distractor_examples.query_activation IS 'Activation of the query at query_pos';
COMMENT ON COLUMN distractor_examples.distractor_activation IS 'Activation of the distractor at distractor_pos';
COMMENT ON COLUMN distractor_examples.activation IS 'Activation of the output feature at query_pos, 0 where it is not active';
