-- Grain: a description of a feature from one source.
CREATE TABLE feature_descriptions (
    role VARCHAR NOT NULL CHECK (role IN ('input', 'output')),
    layer SMALLINT NOT NULL,
    head SMALLINT,
    feature INTEGER NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('imported', 'tokens', 'embedding')),
    description VARCHAR NOT NULL,
    source VARCHAR NOT NULL
);
COMMENT ON TABLE feature_descriptions IS 'What is said of a feature, by every source; the column description of input_features and output_features is the best of these';
COMMENT ON COLUMN feature_descriptions.role IS 'input: a feature of the residual stream entering the layer; output: of the output of one head';
COMMENT ON COLUMN feature_descriptions.layer IS 'Layer, 0-based';
COMMENT ON COLUMN feature_descriptions.head IS 'Attention head, NULL for an input feature; -1: the SAE over the whole layer';
COMMENT ON COLUMN feature_descriptions.feature IS 'Feature of the SAE';
COMMENT ON COLUMN feature_descriptions.kind IS 'imported: from an export file; tokens: the tokens with the largest share of its activation in this corpus; embedding: the tokens and positions whose embedding excites it most, layer 0 only. The first of these kinds that there is, is the best';
COMMENT ON COLUMN feature_descriptions.description IS 'The description';
COMMENT ON COLUMN feature_descriptions.source IS 'Where it came from: who explained it, or how it was computed';
