-- Grain: a list of the first n_rules rules of a feature on a split. Positions without a match count as predicted 0; of
-- all positions of a corpus only those with a match or an activation are rows of `judged_rows`, the `n_unlisted` others
-- are predicted 0 and inactive.
CREATE OR REPLACE TEMP TABLE judged_lists AS
WITH sizes AS (
    SELECT
        feature,
        split,
        any_value(n_examples) AS n_examples,
        any_value(n_active) AS n_active,
        sum(activation) AS activation_sum,
        sum(activation * activation) AS activation_squares,
        -- Inactive positions share the ranks after the active ones.
        coalesce(sum((rank_from_above - (n_examples + 1) / 2.0) ** 2) FILTER (WHERE activation > 0), 0)
        + any_value((n_examples - n_active) * (n_active / 2.0) ** 2) AS activation_rank_variance
    FROM truth
    GROUP BY feature, split
),

counted AS (
    SELECT
        feature,
        n_rules,
        split,
        count(*) AS n,
        count(*) FILTER (WHERE prediction > 0) AS n_positive,
        count(*) FILTER (WHERE prediction >= 0) AS n_not_negative,
        sum(prediction) AS prediction_sum
    FROM judged_rows
    GROUP BY feature, n_rules, split
)

SELECT
    e.feature,
    e.n_rules,
    z.split,
    z.n_examples,
    z.n_active,
    z.activation_sum,
    z.activation_squares,
    z.activation_rank_variance,
    z.n_examples - coalesce(c.n, 0) AS n_unlisted,
    coalesce(c.n_positive, 0) AS n_positive,
    coalesce(c.n_not_negative, 0) AS n_not_negative,
    coalesce(c.prediction_sum, 0) AS prediction_sum
FROM evaluated AS e
INNER JOIN sizes AS z ON e.feature = z.feature
LEFT JOIN counted AS c ON e.feature = c.feature AND e.n_rules = c.n_rules AND z.split = c.split;
