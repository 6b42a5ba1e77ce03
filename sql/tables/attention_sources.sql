-- Grain: a source position that a query position of a head attends to.
CREATE TABLE attention_sources (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    seq_id INTEGER NOT NULL,
    query_pos INTEGER NOT NULL,
    key_pos INTEGER NOT NULL,
    weight FLOAT NOT NULL,
    weight_from_features FLOAT NOT NULL
);
COMMENT ON TABLE attention_sources IS 'Attention pattern A[q,k], sparse: a pair is stored where either weight exceeds the ingest option --min-attention; the sum over stored sources of a query is the mass kept';
COMMENT ON COLUMN attention_sources.layer IS 'Layer, 0-based';
COMMENT ON COLUMN attention_sources.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN attention_sources.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN attention_sources.query_pos IS 'Position that attends';
COMMENT ON COLUMN attention_sources.key_pos IS 'Position attended to, <= query_pos';
COMMENT ON COLUMN attention_sources.weight IS 'A[q,k]: the pattern of the model, a probability';
COMMENT ON COLUMN attention_sources.weight_from_features IS 'Ahat[q,k]: the pattern computed from the reconstruction of the input SAE alone, a probability';
