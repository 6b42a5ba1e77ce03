-- Grain: a pair of an output feature, a split, and numbers of keys and opponents seen.
CREATE TABLE counting_counts (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair INTEGER NOT NULL,
    split VARCHAR NOT NULL CHECK (split IN ('train', 'test')),
    n_key INTEGER NOT NULL,
    n_opponent INTEGER,
    n_positions BIGINT NOT NULL,
    n_active BIGINT NOT NULL,
    mean_activation DOUBLE NOT NULL,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE counting_counts IS 'How often, and how strongly, an output feature is active at query positions, by how many keys and opponents stand at or before them';
COMMENT ON COLUMN counting_counts.layer IS 'Layer, 0-based';
COMMENT ON COLUMN counting_counts.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN counting_counts.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN counting_counts.scaling IS 'Scaling of the scores that chose the pair: paper or model';
COMMENT ON COLUMN counting_counts.pair IS 'Place of the pair within the feature, from 1, as in distractors';
COMMENT ON COLUMN counting_counts.split IS 'Half of the sequences: rules are chosen on train and judged on test';
COMMENT ON COLUMN counting_counts.n_key IS 'c: positions after BOS, up to the query, at which the key is active';
COMMENT ON COLUMN counting_counts.n_opponent IS 'The same for the opponent; NULL for a pair without a distractor';
COMMENT ON COLUMN counting_counts.n_positions IS 'Positions at which the query is active';
COMMENT ON COLUMN counting_counts.n_active IS 'Those at which the output feature is active';
COMMENT ON COLUMN counting_counts.mean_activation IS 'Mean activation of the output feature over the positions, 0 where it is not active';
COMMENT ON COLUMN counting_counts.run_id IS 'Run that found it';
