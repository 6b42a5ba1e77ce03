-- Grain: the first n rules of a mined feature under one way to predict, judged on a split. Definitions of method.md section 5;
-- average precision takes all positions of equal prediction together; R2 is that of the line fitted on train.
-- Reads: active_rows, evaluated, intervals, judged_lists, judged_rows, rule_evaluations, ways
-- Writes: rule_metric_values
INSERT INTO rule_metric_values BY NAME
WITH fitted AS (
    SELECT
        l.*,
        e.feature,
        e.n_rules,
        v.method,
        v.scaling,
        v.aggregation,
        v.n_rules_used,
        v.threshold,
        v.slope,
        v.intercept
    FROM judged_lists AS l
    INNER JOIN evaluated AS e ON l.list = e.list
    INNER JOIN ways AS w ON e.way = w.way
    INNER JOIN rule_evaluations AS v
        ON
            v.layer = $layer AND v.head = $head AND v.example_set = $example_set
            AND w.method = v.method AND w.scaling = v.scaling AND e.feature = v.feature AND e.n_rules = v.n_rules
),

-- Over the rows; positions that are none are added below.
summed AS (
    SELECT
        f.list,
        f.split,
        count(*) FILTER (WHERE r.prediction > f.threshold) AS n_predicted_at_threshold,
        exact_sum(
            (
                (
                    r.n_above + CASE WHEN r.prediction < 0 THEN f.n_unlisted ELSE 0 END
                    + r.n_at_least + CASE WHEN r.prediction <= 0 THEN f.n_unlisted ELSE 0 END
                    - f.n_examples
                ) / 2
            ) ** 2
        ) AS prediction_rank_variance,
        -- A line through train predictions that hardly vary may miss by any amount: no position counts for more than this.
        exact_sum(
            least(((f.intercept + f.slope * r.prediction - r.activation) / f.largest_activation) ** 2, 1e15)
        ) AS squared_error
    FROM judged_rows AS r
    INNER JOIN fitted AS f ON r.list = f.list AND r.split = f.split
    GROUP BY f.list, f.split
),

ranked AS (
    SELECT
        a.list,
        a.split,
        count(*) FILTER (WHERE a.prediction > 0) AS n_hits,
        count(*) FILTER (WHERE a.prediction > f.threshold) AS n_hits_at_threshold,
        exact_sum(a.n_active_at_least / a.n_at_least) / any_value(a.n_active) AS average_precision,
        -- Inactive positions are all ranked n_active / 2 below the middle; centred ranks of predictions add up to 0.
        exact_sum(
            (a.n_above + a.n_at_least - a.n_examples) / 2
            * (a.rank_from_above - (a.n_examples + 1) / 2.0 - a.n_active / 2.0)
        ) AS rank_covariance
    FROM active_rows AS a
    INNER JOIN fitted AS f ON a.list = f.list AND a.split = f.split
    GROUP BY a.list, a.split
),

together AS (
    SELECT
        f.list,
        f.feature,
        f.n_rules,
        f.method,
        f.scaling,
        f.aggregation,
        f.split,
        f.n_rules_used,
        f.threshold,
        f.n_examples,
        f.n_active,
        f.n_positive AS n_predicted,
        coalesce(a.n_hits, 0) AS n_hits,
        coalesce(r.n_predicted_at_threshold, 0) + CASE WHEN f.threshold < 0 THEN f.n_unlisted ELSE 0 END
            AS n_predicted_at_threshold,
        coalesce(a.n_hits_at_threshold, 0) AS n_hits_at_threshold,
        a.average_precision,
        coalesce(r.prediction_rank_variance, 0)
        + f.n_unlisted * ((f.n_positive + f.n_not_negative + f.n_unlisted - f.n_examples) / 2) ** 2
            AS prediction_rank_variance,
        coalesce(a.rank_covariance, 0) AS rank_covariance,
        f.activation_rank_variance,
        coalesce(r.squared_error, 0) + f.n_unlisted * (f.intercept / f.largest_activation) ** 2 AS squared_error,
        f.activation_squares - (f.activation_sum / f.largest_activation) ** 2 / f.n_examples AS activation_variance
    FROM fitted AS f
    LEFT JOIN summed AS r ON f.list = r.list AND f.split = r.split
    LEFT JOIN ranked AS a ON f.list = a.list AND f.split = a.split
),

rated AS (
    SELECT
        t.*,
        CASE WHEN t.n_predicted = 0 THEN 1 ELSE t.n_hits / t.n_predicted END AS precision,
        CASE WHEN t.n_active = 0 THEN 1 ELSE t.n_hits / t.n_active END AS recall,
        CASE
            WHEN t.threshold IS NULL THEN NULL
            WHEN t.n_predicted_at_threshold = 0 THEN 1
            ELSE t.n_hits_at_threshold / t.n_predicted_at_threshold
        END AS precision_at_threshold,
        CASE
            WHEN t.threshold IS NULL THEN NULL
            WHEN t.n_active = 0 THEN 1
            ELSE t.n_hits_at_threshold / t.n_active
        END AS recall_at_threshold,
        t.rank_covariance / sqrt(nullif(t.prediction_rank_variance, 0) * nullif(t.activation_rank_variance, 0))
            AS spearman,
        1 - t.squared_error / nullif(t.activation_variance, 0) AS r2
    FROM together AS t
)

SELECT
    $layer AS layer,
    $head AS head,
    r.feature,
    r.method,
    r.scaling,
    $example_set AS example_set,
    r.split,
    r.n_rules,
    n_rules_used,
    r.aggregation,
    precision,
    recall,
    coalesce(2 * precision * recall / nullif(precision + recall, 0), 0) AS f1,
    threshold,
    precision_at_threshold,
    recall_at_threshold,
    coalesce(
        2 * precision_at_threshold * recall_at_threshold
        / nullif(precision_at_threshold + recall_at_threshold, 0),
        CASE WHEN threshold IS NOT NULL THEN 0 END
    ) AS f1_at_threshold,
    spearman,
    average_precision,
    r2,
    f1_low,
    f1_high,
    f1_at_threshold_low,
    f1_at_threshold_high,
    average_precision_low,
    average_precision_high,
    n_examples,
    n_active
FROM rated AS r
LEFT JOIN intervals AS i ON r.list = i.list AND r.split = 'test';
