-- Grain: the first n rules of a mined feature, judged on a split. Definitions of METHOD.md section 5; average precision
-- takes all examples of equal prediction together.
INSERT INTO rule_metric_values BY NAME
WITH judged AS (
    SELECT
        p.layer,
        p.head,
        p.feature,
        p.method,
        p.scaling,
        p.example_set,
        p.split,
        p.n_rules,
        p.n_rules_used,
        p.activation,
        p.prediction,
        (p.activation > 0)::INTEGER AS is_active,
        (p.prediction > 0)::INTEGER AS is_predicted
    FROM rule_predictions AS p
    WHERE
        p.layer = $layer
        AND p.head = $head
        AND p.example_set = 'paper'
        AND p.feature IN (SELECT f.feature FROM mined_features AS f)
),

ranked AS (
    SELECT
        judged.*,
        rank() OVER by_prediction + (count(*) OVER same_prediction - 1) / 2.0 AS prediction_rank,
        rank() OVER by_activation + (count(*) OVER same_activation - 1) / 2.0 AS activation_rank,
        sum(is_active) OVER from_top AS n_active_so_far,
        count(*) OVER from_top AS n_so_far
    FROM judged
    WINDOW
        by_prediction AS (
            PARTITION BY feature, method, scaling, split, n_rules ORDER BY prediction
        ),
        same_prediction AS (PARTITION BY feature, method, scaling, split, n_rules, prediction),
        by_activation AS (
            PARTITION BY feature, method, scaling, split, n_rules ORDER BY activation
        ),
        same_activation AS (PARTITION BY feature, method, scaling, split, n_rules, activation),
        from_top AS (
            PARTITION BY feature, method, scaling, split, n_rules ORDER BY prediction DESC
        )
),

counted AS (
    SELECT
        layer,
        head,
        feature,
        method,
        scaling,
        example_set,
        split,
        n_rules,
        n_rules_used,
        count(*) AS n_examples,
        sum(is_active) AS n_active,
        sum(is_predicted) AS n_predicted,
        sum(is_active * is_predicted) AS n_hits,
        CASE
            WHEN
                min(prediction_rank) < max(prediction_rank)
                AND min(activation_rank) < max(activation_rank)
                THEN corr(prediction_rank, activation_rank)
        END AS spearman,
        sum(is_active * n_active_so_far / n_so_far) / nullif(sum(is_active), 0) AS average_precision
    FROM ranked
    GROUP BY layer, head, feature, method, scaling, example_set, split, n_rules, n_rules_used
),

rated AS (
    SELECT
        counted.*,
        CASE WHEN n_predicted = 0 THEN 1 ELSE n_hits / n_predicted END AS precision,
        CASE WHEN n_active = 0 THEN 1 ELSE n_hits / n_active END AS recall
    FROM counted
)

SELECT
    layer,
    head,
    feature,
    method,
    scaling,
    example_set,
    split,
    n_rules,
    n_rules_used,
    precision,
    recall,
    CASE WHEN precision + recall = 0 THEN 0 ELSE 2 * precision * recall / (precision + recall) END AS f1,
    spearman,
    average_precision,
    n_examples,
    n_active
FROM rated;
