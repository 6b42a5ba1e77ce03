-- Grain: a token on which the feature fires far more often than anywhere, among the first six.
-- Reads: output_feature_tokens
SELECT
    token_label(token) AS token,
    lift,
    lift_label(lift) AS times,
    n_active,
    n_positions
FROM output_feature_tokens
WHERE layer = $layer AND head = $head AND feature = $feature
ORDER BY lift DESC, token_id ASC
LIMIT 6;
