-- Grain: an output feature and a token that is certain to follow more often where the feature is active.
CREATE TABLE output_corpus_tokens (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    token_id INTEGER NOT NULL,
    n_active BIGINT NOT NULL,
    n_followed BIGINT NOT NULL,
    n_sequences BIGINT NOT NULL,
    base_rate DOUBLE NOT NULL,
    log_odds DOUBLE NOT NULL,
    log_odds_low DOUBLE NOT NULL,
    log_odds_high DOUBLE NOT NULL
);
COMMENT ON TABLE output_corpus_tokens IS 'The 20 tokens of output_next_tokens that most certainly follow more often where the feature is active: log_odds_low above 0; computed from the facts at the end of an ingest';
COMMENT ON COLUMN output_corpus_tokens.layer IS 'Layer, 0-based';
COMMENT ON COLUMN output_corpus_tokens.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN output_corpus_tokens.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN output_corpus_tokens.rank IS 'Place by log_odds_low, largest first; ties by token_id';
COMMENT ON COLUMN output_corpus_tokens.token_id IS 'Token that follows';
COMMENT ON COLUMN output_corpus_tokens.n_active IS 'As in output_next_tokens';
COMMENT ON COLUMN output_corpus_tokens.n_followed IS 'As in output_next_tokens';
COMMENT ON COLUMN output_corpus_tokens.n_sequences IS 'As in output_next_tokens';
COMMENT ON COLUMN output_corpus_tokens.base_rate IS 'As in output_next_tokens';
COMMENT ON COLUMN output_corpus_tokens.log_odds IS 'As in output_next_tokens';
COMMENT ON COLUMN output_corpus_tokens.log_odds_low IS 'As in output_next_tokens';
COMMENT ON COLUMN output_corpus_tokens.log_odds_high IS 'As in output_next_tokens';
