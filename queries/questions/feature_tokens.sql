-- The tokens at which a feature is active more often than anywhere.
-- Group: one feature
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $limit = 20: number of tokens
SELECT
    token,
    round(lift, 1) AS lift,
    n_active,
    n_positions
FROM output_feature_tokens
WHERE layer = $layer AND head = $head AND feature = $feature
ORDER BY output_feature_tokens.lift DESC, token_id ASC
LIMIT $limit;
