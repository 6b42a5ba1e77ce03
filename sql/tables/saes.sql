-- Grain: an SAE in use.
CREATE TABLE saes (
    role VARCHAR NOT NULL CHECK (role IN ('input', 'output')),
    layer SMALLINT NOT NULL,
    head SMALLINT,
    source VARCHAR NOT NULL,
    hook_name VARCHAR NOT NULL,
    d_in INTEGER NOT NULL,
    d_sae INTEGER NOT NULL,
    architecture VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    resolved_commit VARCHAR,
    configuration VARCHAR,
    identity VARCHAR,
    sampled_reconstruction_error DOUBLE
);
COMMENT ON TABLE saes IS 'The sparse autoencoders that name the features';
COMMENT ON COLUMN saes.role IS 'input: on the residual stream entering the layer; output: on the output of one head, or of all heads of the layer';
COMMENT ON COLUMN saes.layer IS 'Layer, 0-based';
COMMENT ON COLUMN saes.head IS 'Attention head, NULL for an input SAE; -1: it reads all heads of the layer';
COMMENT ON COLUMN saes.source IS 'Release, repository or folder it came from';
COMMENT ON COLUMN saes.hook_name IS 'TransformerLens hook that it reads';
COMMENT ON COLUMN saes.d_in IS 'Width of what it reads';
COMMENT ON COLUMN saes.d_sae IS 'Number of features';
COMMENT ON COLUMN saes.architecture IS 'SAE architecture, such as standard, topk or jumprelu';
COMMENT ON COLUMN saes.sha256 IS 'Digest of its weights';
COMMENT ON COLUMN saes.resolved_commit IS 'Hub commit it was loaded from, NULL for a local folder';
COMMENT ON COLUMN saes.configuration IS 'What decides, besides the weights, what it computes, as JSON: architecture, k, normalisation, centring, rescaling, the processing of the model that it reads; NULL where an earlier version did not record it';
COMMENT ON COLUMN saes.identity IS 'Digest of weights and configuration together; NULL where the configuration is';
COMMENT ON COLUMN saes.sampled_reconstruction_error IS 'Share of the variance of what it reads that its reconstruction misses, over the first 8 sequences at its first ingest, BOS left out; near or above 1 it does not fit this model; NULL where an earlier version did not measure it';
