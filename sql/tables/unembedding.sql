-- Grain: the unembedding of the model (one row), as the effects of output features on the logits are computed from it.
CREATE TABLE unembedding (
    status VARCHAR NOT NULL,
    n_tokens INTEGER,
    logit_soft_cap DOUBLE,
    final_scale DOUBLE,
    n_positions INTEGER,
    random_kurtosis DOUBLE
);
COMMENT ON TABLE unembedding IS 'How the model turns its last residual stream into logits, and what a direction without meaning does to them (method.md section 12.1)';
COMMENT ON COLUMN unembedding.status IS 'usable, or why effects on the logits cannot be read off the weights of this model';
COMMENT ON COLUMN unembedding.n_tokens IS 'Tokens that effects are computed on: those that the tokenizer knows; NULL where it is not usable';
COMMENT ON COLUMN unembedding.logit_soft_cap IS 'What the model bounds its logits by (soft cap), NULL where it does not; effects are those before it';
COMMENT ON COLUMN unembedding.final_scale IS 'Mean scale of the final norm, which an effect is divided by, over sampled positions after BOS; NULL where it is not usable';
COMMENT ON COLUMN unembedding.n_positions IS 'Positions sampled, of the first rows of the corpus';
COMMENT ON COLUMN unembedding.random_kurtosis IS 'Kurtosis of the effects that 99% of random directions stay below; NULL where no direction has an effect';
