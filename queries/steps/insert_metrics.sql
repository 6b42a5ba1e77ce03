-- Grain: the first n rules of a mined feature under one method, judged on a split. Definitions of METHOD.md section 5;
-- average precision takes all positions of equal prediction together; R2 is that of the line fitted on train.
INSERT INTO rule_metric_values BY NAME
WITH judged_lists AS (
    SELECT
        j.*,
        v.n_rules_used,
        v.threshold,
        v.slope,
        v.intercept,
        j.n_at_least - (j.n - 1) / 2.0 - (j.n_examples + 1) / 2.0 AS centred_rank
    FROM judgements AS j
    INNER JOIN rule_evaluations AS v
        ON
            v.layer = $layer AND v.head = $head
            AND v.method = $method AND v.scaling = $scaling AND v.example_set = $example_set
            AND j.feature = v.feature AND j.n_rules = v.n_rules
),

summed AS (
    SELECT
        feature,
        n_rules,
        split,
        any_value(n_rules_used) AS n_rules_used,
        any_value(threshold) AS threshold,
        any_value(n_examples) AS n_examples,
        any_value(n_active_in_split) AS n_active,
        sum(n) FILTER (WHERE prediction > 0) AS n_predicted,
        sum(n_active) FILTER (WHERE prediction > 0) AS n_hits,
        sum(n) FILTER (WHERE prediction > threshold) AS n_predicted_at_threshold,
        sum(n_active) FILTER (WHERE prediction > threshold) AS n_hits_at_threshold,
        sum(n_active * n_active_at_least / n_at_least) / nullif(any_value(n_active_in_split), 0)
            AS average_precision,
        sum(n * centred_rank * centred_rank) AS prediction_rank_variance,
        -- Inactive positions share the ranks after the active ones.
        sum(
            centred_rank
            * (
                rank_from_above
                + (n - n_active) * (n_active_in_split + (n_examples - n_active_in_split + 1) / 2.0)
                - n * (n_examples + 1) / 2.0
            )
        ) AS rank_covariance,
        any_value(activation_squares) AS activation_squares,
        sum(activation) AS activation_sum,
        sum(
            n * (intercept + slope * prediction) ** 2
            - 2 * (intercept + slope * prediction) * activation
        ) + any_value(activation_squares) AS squared_error
    FROM judged_lists
    GROUP BY feature, n_rules, split
),

activation_ranks AS (
    SELECT
        feature,
        split,
        sum((rank_from_above - (n_examples + 1) / 2.0) ** 2) FILTER (WHERE activation > 0)
        + any_value(
            (n_examples - n_active)
            * (n_active + (n_examples - n_active + 1) / 2.0 - (n_examples + 1) / 2.0) ** 2
        ) AS activation_rank_variance
    FROM truth
    GROUP BY feature, split
),

rated AS (
    SELECT
        s.*,
        CASE WHEN coalesce(s.n_predicted, 0) = 0 THEN 1 ELSE s.n_hits / s.n_predicted END AS precision,
        CASE WHEN s.n_active = 0 THEN 1 ELSE coalesce(s.n_hits, 0) / s.n_active END AS recall,
        CASE
            WHEN s.threshold IS NULL THEN NULL
            WHEN coalesce(s.n_predicted_at_threshold, 0) = 0 THEN 1
            ELSE s.n_hits_at_threshold / s.n_predicted_at_threshold
        END AS precision_at_threshold,
        CASE
            WHEN s.threshold IS NULL THEN NULL
            WHEN s.n_active = 0 THEN 1
            ELSE coalesce(s.n_hits_at_threshold, 0) / s.n_active
        END AS recall_at_threshold,
        s.rank_covariance / sqrt(nullif(s.prediction_rank_variance, 0) * nullif(a.activation_rank_variance, 0))
            AS spearman,
        1 - s.squared_error / nullif(s.activation_squares - s.activation_sum ** 2 / s.n_examples, 0) AS r2
    FROM summed AS s
    INNER JOIN activation_ranks AS a ON s.feature = a.feature AND s.split = a.split
)

SELECT
    $layer AS layer,
    $head AS head,
    r.feature,
    $method AS method,
    $scaling AS scaling,
    $example_set AS example_set,
    r.split,
    r.n_rules,
    n_rules_used,
    $aggregation AS aggregation,
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
LEFT JOIN intervals AS i ON r.feature = i.feature AND r.n_rules = i.n_rules AND r.split = 'test';
