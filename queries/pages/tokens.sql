-- Grain: a feature of a page and one of the twelve tokens at which it is active most often for its share of the corpus.
-- Reads: output_feature_tokens
SELECT
    feature,
    token,
    lift,
    n_active,
    n_positions
FROM output_feature_tokens
WHERE layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
QUALIFY row_number() OVER (PARTITION BY feature ORDER BY lift DESC, token_id ASC) <= 12
ORDER BY feature ASC, lift DESC, token_id ASC;
