-- Grain: a list of rules of a feature on a split. Positions without a match count as predicted 0; of
-- all positions of a corpus only those with a match or an activation are rows of `judged_rows`, the `n_unlisted` others
-- are predicted 0 and inactive. Squares are taken in units of the largest activation or prediction of the split, so that
-- sums of them keep their digits whatever the scale of the SAE.
-- Reads: evaluated, judged_rows, truth
-- Makes: judged_lists
CREATE OR REPLACE TEMP TABLE judged_lists AS
WITH sizes AS (
    SELECT
        feature,
        split,
        any_value(n_examples) AS n_examples,
        any_value(n_active) AS n_active,
        exact_sum(activation) AS activation_sum,
        any_value(largest_activation) AS largest_activation,
        exact_sum((activation / largest_activation) ** 2) AS activation_squares,
        -- Inactive positions share the ranks after the active ones.
        coalesce(exact_sum(CASE WHEN activation > 0 THEN (rank_from_above - (n_examples + 1) / 2.0) ** 2 END), 0)
        + any_value((n_examples - n_active) * (n_active / 2.0) ** 2) AS activation_rank_variance
    FROM (
        SELECT
            t.*,
            coalesce(nullif(max(t.activation) OVER (PARTITION BY t.feature, t.split), 0), 1) AS largest_activation
        FROM truth AS t
    )
    GROUP BY feature, split
),

counted AS (
    SELECT
        list,
        split,
        count(*) AS n,
        count(*) FILTER (WHERE prediction > 0) AS n_positive,
        count(*) FILTER (WHERE prediction >= 0) AS n_not_negative,
        exact_sum(prediction) AS prediction_sum,
        coalesce(nullif(max(abs(prediction)), 0), 1) AS largest_prediction
    FROM judged_rows
    GROUP BY list, split
)

SELECT
    e.list,
    z.split,
    z.n_examples,
    z.n_active,
    z.activation_sum,
    z.largest_activation,
    z.activation_squares,
    z.activation_rank_variance,
    z.n_examples - coalesce(c.n, 0) AS n_unlisted,
    coalesce(c.n_positive, 0) AS n_positive,
    coalesce(c.n_not_negative, 0) AS n_not_negative,
    coalesce(c.prediction_sum, 0) AS prediction_sum,
    coalesce(c.largest_prediction, 1) AS largest_prediction
FROM evaluated AS e
INNER JOIN sizes AS z ON e.feature = z.feature
LEFT JOIN counted AS c ON e.list = c.list AND z.split = c.split;
