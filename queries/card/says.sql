-- Grain: a token that stands for what the feature makes the model say.
-- Reads: output_words
SELECT
    place,
    token_id,
    token_label(token) AS token,
    evidence,
    by_weights,
    in_corpus,
    effect,
    log_odds,
    log_odds_low,
    log_odds_high,
    lift_label(exp(log_odds)) AS times,
    raise,
    raise_low,
    raise_high
FROM output_words
WHERE layer = $layer AND head = $head AND feature = $feature
ORDER BY place;
