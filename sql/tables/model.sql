-- Grain: the model (one row).
CREATE TABLE model (
    name VARCHAR NOT NULL,
    revision VARCHAR,
    architecture VARCHAR NOT NULL,
    n_layers INTEGER NOT NULL,
    n_heads INTEGER NOT NULL,
    n_kv_heads INTEGER NOT NULL,
    d_model INTEGER NOT NULL,
    d_head INTEGER NOT NULL,
    n_ctx INTEGER NOT NULL,
    vocab_size INTEGER NOT NULL,
    attn_scale DOUBLE NOT NULL,
    normalization VARCHAR NOT NULL,
    positional_embedding VARCHAR NOT NULL,
    bos_token_id INTEGER NOT NULL,
    processing VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    resolved_commit VARCHAR,
    configuration VARCHAR,
    tokenizer VARCHAR,
    identity VARCHAR
);
COMMENT ON TABLE model IS 'The model whose heads are described';
COMMENT ON COLUMN model.name IS 'Name, hub id or local folder name it was loaded from';
COMMENT ON COLUMN model.revision IS 'Hub revision asked for, NULL for a local folder or the default branch';
COMMENT ON COLUMN model.architecture IS 'Architecture class named in the model configuration';
COMMENT ON COLUMN model.n_layers IS 'Number of layers';
COMMENT ON COLUMN model.n_heads IS 'Number of query heads of a layer';
COMMENT ON COLUMN model.n_kv_heads IS 'Number of key/value heads of a layer; fewer than n_heads under grouped-query attention';
COMMENT ON COLUMN model.d_model IS 'Width of the residual stream';
COMMENT ON COLUMN model.d_head IS 'Width of a head';
COMMENT ON COLUMN model.n_ctx IS 'Context length, tokens';
COMMENT ON COLUMN model.vocab_size IS 'Number of token embeddings';
COMMENT ON COLUMN model.attn_scale IS 'Divisor of the attention logits, usually sqrt(d_head)';
COMMENT ON COLUMN model.normalization IS 'Normalisation before attention: LN or RMS';
COMMENT ON COLUMN model.positional_embedding IS 'Kind of position information, such as standard or rotary';
COMMENT ON COLUMN model.bos_token_id IS 'Token put in front of every sequence';
COMMENT ON COLUMN model.processing IS 'Weight processing in force when the activations were taken';
COMMENT ON COLUMN model.dtype IS 'Precision of the forward pass and the encoding: float32, tf32 or bfloat16';
COMMENT ON COLUMN model.sha256 IS 'Digest of the weights as loaded, before processing';
COMMENT ON COLUMN model.resolved_commit IS 'Hub commit that the revision stood for at the first ingest, NULL for a local folder; later ingests load this one';
COMMENT ON COLUMN model.configuration IS 'What decides, besides the weights, its forward pass, as JSON: the fields of its configuration, such as layer_norm_epsilon and the activation function; NULL where an earlier version did not record it';
COMMENT ON COLUMN model.tokenizer IS 'What decides the ids that a text becomes, as JSON: vocabulary, merges, normaliser, added and special tokens, long ones as digests; NULL where an earlier version did not record it';
COMMENT ON COLUMN model.identity IS 'Digest of weights, configuration and tokenizer together; NULL where the configuration is';
