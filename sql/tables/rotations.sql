-- Grain: a head of a model with rotary positions, which turn its queries and keys. A row is missing where that is not
-- known: in a warehouse made before it was recorded, and where the model does more to them than turn them.
CREATE TABLE rotations (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    frequencies DOUBLE[] NOT NULL,
    pairing VARCHAR NOT NULL,
    magnitude DOUBLE NOT NULL
);
COMMENT ON TABLE rotations IS 'How rotary positions turn the queries and keys of a head, for S(i,j) at a distance (attn_score_at); empty where the model has other positions';
COMMENT ON COLUMN rotations.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rotations.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN rotations.frequencies IS 'Radians per position by which each pair of dimensions is turned, after any scaling of the model; the dimensions beyond these pairs are not turned, none where it is empty';
COMMENT ON COLUMN rotations.pairing IS 'Which dimensions are a pair: halves (f and f + number of pairs) or adjacent (2 f and 2 f + 1), 0-based';
COMMENT ON COLUMN rotations.magnitude IS 'Factor on the turned dimensions of queries and of keys: 1 but under scalings such as YaRN';
