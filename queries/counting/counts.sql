-- Grain: a case, a split, and numbers of keys and opponents.
-- Reads: count_positions
SELECT
    feature,
    pair,
    split,
    n_key,
    n_opponent,
    count(*) AS n_positions,
    count(*) FILTER (WHERE activation > 0) AS n_active,
    exact_sum(activation) / count(*) AS mean_activation
FROM count_positions
GROUP BY feature, pair, split, n_key, n_opponent
ORDER BY feature, pair, split, n_key, n_opponent;
