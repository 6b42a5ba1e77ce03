-- Grain: the first n rules of a feature under one way to predict, with what was fitted on train: the threshold of largest
-- F1 (the highest of several) and the line from prediction to activation.
-- Reads: active_rows, evaluated, judged_lists, judged_rows, ways
-- Writes: rule_evaluations
INSERT INTO rule_evaluations BY NAME
WITH best AS (
    SELECT
        list,
        prediction
    FROM active_rows
    WHERE split = 'train'
    QUALIFY
        row_number() OVER (
            PARTITION BY list
            ORDER BY n_active_at_least / (n_at_least + n_active) DESC, prediction DESC
        ) = 1
),

thresholds AS (
    SELECT
        b.list,
        coalesce(
            (
                b.prediction
                + greatest(
                    max(r.prediction) FILTER (WHERE r.prediction < b.prediction),
                    CASE WHEN b.prediction > 0 AND any_value(l.n_unlisted) > 0 THEN 0 END
                )
            ) / 2,
            b.prediction - 1
        ) AS threshold
    FROM best AS b
    INNER JOIN judged_rows AS r ON b.list = r.list AND r.split = 'train'
    INNER JOIN judged_lists AS l ON b.list = l.list AND l.split = 'train'
    GROUP BY b.list, b.prediction
),

moments AS (
    SELECT
        list,
        n_unlisted,
        largest_prediction AS unit,
        prediction_sum / n_examples AS mean_prediction,
        activation_sum / n_examples AS mean_activation
    FROM judged_lists
    WHERE split = 'train'
),

-- Predictions in units of the largest: their squares keep their digits whatever the scale of the SAE.
slopes AS (
    SELECT
        m.list,
        any_value(m.unit) AS unit,
        exact_sum(((r.prediction - m.mean_prediction) / m.unit) ** 2)
        + any_value(m.n_unlisted * (m.mean_prediction / m.unit) ** 2) AS variance,
        exact_sum((r.prediction - m.mean_prediction) / m.unit * (r.activation - m.mean_activation))
        + any_value(m.n_unlisted * m.mean_prediction / m.unit * m.mean_activation) AS covariance,
        exact_sum((r.prediction / m.unit) ** 2) AS squares
    FROM moments AS m
    INNER JOIN judged_rows AS r ON m.list = r.list AND r.split = 'train'
    GROUP BY m.list
),

lines AS (
    SELECT
        m.list,
        m.mean_prediction,
        m.mean_activation,
        -- Predictions that differ by the rounding of single precision alone are constant: no line can be fitted to them.
        CASE WHEN s.variance > 1e-12 * s.squares THEN s.covariance / s.variance / s.unit ELSE 0 END AS slope
    FROM moments AS m
    LEFT JOIN slopes AS s ON m.list = s.list
)

SELECT
    $layer AS layer,
    $head AS head,
    e.feature,
    w.method,
    w.scaling,
    $example_set AS example_set,
    e.n_rules,
    e.n_rules_used,
    w.aggregation,
    t.threshold,
    s.slope,
    s.mean_activation - s.slope * s.mean_prediction AS intercept,
    $run_id AS run_id
FROM evaluated AS e
INNER JOIN ways AS w ON e.way = w.way
LEFT JOIN thresholds AS t ON e.list = t.list
LEFT JOIN lines AS s ON e.list = s.list;
