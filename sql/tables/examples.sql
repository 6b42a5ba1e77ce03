-- Grain: an example of an output feature.
CREATE TABLE examples (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    example_set VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    label SMALLINT NOT NULL,
    seq_id INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    activation FLOAT NOT NULL
);
COMMENT ON TABLE examples IS 'Positions on which rules are judged';
COMMENT ON COLUMN examples.layer IS 'Layer, 0-based';
COMMENT ON COLUMN examples.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN examples.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN examples.example_set IS 'Which set of examples: paper (the strongest 3m sequences against 3m inactive ones), uniform, bins or all_positions';
COMMENT ON COLUMN examples.split IS 'train, val or test; thirds, stratified by label';
COMMENT ON COLUMN examples.label IS '1 where the feature is active, else 0';
COMMENT ON COLUMN examples.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN examples.pos IS 'Token position in the sequence, 0-based; position 0 is BOS';
COMMENT ON COLUMN examples.activation IS 'Activation of the feature there, 0 for a negative example';
