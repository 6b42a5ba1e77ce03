-- Grain: a distinct prediction of the first n_rules rules of a feature on a split. Positions without a match count as
-- predicted 0; of all positions of a corpus only those with a match or an activation are rows before this, the rest
-- are added as a number.
CREATE OR REPLACE TEMP TABLE levels AS
WITH sizes AS (
    SELECT
        feature,
        split,
        any_value(n_examples) AS n_examples,
        any_value(n_active) AS n_active,
        sum(activation * activation) AS activation_squares
    FROM truth
    GROUP BY feature, split
),

grouped AS (
    SELECT
        feature,
        n_rules,
        split,
        prediction,
        count(*) AS n,
        sum((activation > 0)::INTEGER) AS n_active,
        sum(activation) AS activation,
        sum(rank_from_above) FILTER (WHERE activation > 0) AS rank_from_above
    FROM judged_rows
    GROUP BY feature, n_rules, split, prediction
    UNION ALL
    SELECT
        e.feature,
        e.n_rules,
        z.split,
        0 AS prediction,
        z.n_examples - coalesce(c.n, 0) AS n,
        0 AS n_active,
        0 AS activation,
        0 AS rank_from_above
    FROM evaluated AS e
    INNER JOIN sizes AS z ON e.feature = z.feature
    LEFT JOIN (
        SELECT
            feature,
            n_rules,
            split,
            count(*) AS n
        FROM judged_rows
        GROUP BY feature, n_rules, split
    ) AS c ON e.feature = c.feature AND e.n_rules = c.n_rules AND z.split = c.split
)

SELECT
    g.feature,
    g.n_rules,
    g.split,
    g.prediction,
    -- Doubles: running sums of them are computed faster than of the 128-bit integers that sums of integers are.
    sum(g.n)::DOUBLE AS n,
    sum(g.n_active)::DOUBLE AS n_active,
    sum(g.activation) AS activation,
    coalesce(sum(g.rank_from_above), 0) AS rank_from_above,
    any_value(z.n_examples) AS n_examples,
    any_value(z.n_active) AS n_active_in_split,
    any_value(z.activation_squares) AS activation_squares
FROM grouped AS g
INNER JOIN sizes AS z ON g.feature = z.feature AND g.split = z.split
GROUP BY g.feature, g.n_rules, g.split, g.prediction
HAVING sum(g.n) > 0;
