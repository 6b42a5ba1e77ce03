-- Grain: the first n rules of a feature under one method, with what was fitted on train: the threshold of largest F1 (the
-- highest of several) and the line from prediction to activation.
INSERT INTO rule_evaluations BY NAME
WITH thresholds AS (
    SELECT
        feature,
        n_rules,
        coalesce((prediction + next_lower) / 2, prediction - 1) AS threshold
    FROM judgements
    WHERE split = 'train' AND n_active_in_split > 0
    QUALIFY
        row_number() OVER (
            PARTITION BY feature, n_rules
            ORDER BY n_active_at_least / (n_at_least + n_active_in_split) DESC, prediction DESC
        ) = 1
),

moments AS (
    SELECT
        feature,
        n_rules,
        sum(n) AS n,
        sum(n * prediction) / sum(n) AS mean_prediction,
        sum(activation) / sum(n) AS mean_activation
    FROM judgements
    WHERE split = 'train'
    GROUP BY feature, n_rules
),

slopes AS (
    SELECT
        m.feature,
        m.n_rules,
        any_value(m.mean_prediction) AS mean_prediction,
        any_value(m.mean_activation) AS mean_activation,
        -- Predictions that differ by rounding alone are constant: no line can be fitted to them.
        CASE
            WHEN sum(j.n * (j.prediction - m.mean_prediction) ** 2) > 1e-18 * sum(j.n * j.prediction ** 2)
                THEN
                    sum((j.prediction - m.mean_prediction) * (j.activation - j.n * m.mean_activation))
                    / sum(j.n * (j.prediction - m.mean_prediction) ** 2)
            ELSE 0
        END AS slope
    FROM judgements AS j
    INNER JOIN moments AS m ON j.feature = m.feature AND j.n_rules = m.n_rules
    WHERE j.split = 'train'
    GROUP BY m.feature, m.n_rules
)

SELECT
    $layer AS layer,
    $head AS head,
    e.feature,
    $method AS method,
    $scaling AS scaling,
    $example_set AS example_set,
    e.n_rules,
    e.n_rules_used,
    $aggregation AS aggregation,
    t.threshold,
    s.slope,
    s.mean_activation - s.slope * s.mean_prediction AS intercept,
    $run_id AS run_id
FROM evaluated AS e
LEFT JOIN thresholds AS t ON e.feature = t.feature AND e.n_rules = t.n_rules
LEFT JOIN slopes AS s ON e.feature = s.feature AND e.n_rules = s.n_rules;
