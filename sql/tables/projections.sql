-- Grain: an input feature seen through one head.
CREATE TABLE projections (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    key_vector FLOAT[$d_head] NOT NULL,
    query_vector FLOAT[$d_head] NOT NULL,
    value_vector FLOAT[$d_head] NOT NULL
);
COMMENT ON TABLE projections IS 'Effective decoder rows d_i, for which reconstruction = sum of activation * d_i + b_dec, through the projections of the head: V(f,i) and S(i,j) are inner products of these';
COMMENT ON COLUMN projections.layer IS 'Layer, 0-based';
COMMENT ON COLUMN projections.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN projections.feature IS 'Feature of the input SAE';
COMMENT ON COLUMN projections.key_vector IS 'd_i W_K';
COMMENT ON COLUMN projections.query_vector IS 'd_i W_Q';
COMMENT ON COLUMN projections.value_vector IS 'd_i W_V';
