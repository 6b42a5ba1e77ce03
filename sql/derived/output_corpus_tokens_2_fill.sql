-- Grain of the insertion: one of the 20 tokens that most certainly follow more often where an output feature of $layer is
-- active.
-- Reads: output_next_tokens
-- Writes: output_corpus_tokens
INSERT INTO output_corpus_tokens BY NAME
SELECT
    layer,
    head,
    feature,
    row_number() OVER certain AS rank,
    token_id,
    n_active,
    n_followed,
    n_sequences,
    base_rate,
    log_odds,
    log_odds_low,
    log_odds_high
FROM output_next_tokens
WHERE layer = $layer AND log_odds_low > 0
WINDOW certain AS (PARTITION BY layer, head, feature ORDER BY log_odds_low DESC, token_id ASC)
QUALIFY row_number() OVER certain <= 20
ORDER BY layer, head, feature, rank;
