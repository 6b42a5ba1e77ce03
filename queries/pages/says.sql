-- Grain: a token that stands for what a feature of a page makes the model say.
-- Reads: output_words
SELECT
    feature,
    token,
    evidence,
    effect,
    log_odds,
    raise,
    raise_low,
    raise_high
FROM output_words
WHERE layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
ORDER BY feature, place;
