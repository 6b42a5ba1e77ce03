-- Grain: the first n rules of a mined feature, judged on a split. Definitions of METHOD.md section 5; average precision
-- takes all examples of equal prediction together.
INSERT INTO rule_metric_values BY NAME
WITH activation_ranks AS (
    -- The same for every method and n: ranked once.
    SELECT
        e.feature,
        e.seq_id,
        e.pos,
        (rank() OVER by_activation + count(*) OVER by_activation) / 2.0 AS activation_rank
    FROM examples AS e
    SEMI JOIN mined_features AS f ON e.feature = f.feature
    WHERE e.layer = $layer AND e.head = $head AND e.example_set = 'paper'
    WINDOW by_activation AS (PARTITION BY e.feature, e.split ORDER BY e.activation)
),

judged AS (
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
        p.prediction,
        a.activation_rank,
        (p.activation > 0)::INTEGER AS is_active,
        (p.prediction > 0)::INTEGER AS is_predicted
    FROM rule_predictions AS p
    INNER JOIN activation_ranks AS a ON p.feature = a.feature AND p.seq_id = a.seq_id AND p.pos = a.pos
    WHERE
        p.layer = $layer
        AND p.head = $head
        AND p.example_set = 'paper'
),

-- One order serves all: a frame that ends or begins with the current row takes in all rows of equal prediction.
ranked AS (
    SELECT
        judged.*,
        (rank() OVER by_prediction + count(*) OVER by_prediction) / 2.0 AS prediction_rank,
        sum(is_active) OVER at_least AS n_active_at_least,
        count(*) OVER at_least AS n_at_least
    FROM judged
    WINDOW
        by_prediction AS (
            PARTITION BY feature, method, scaling, split, n_rules ORDER BY prediction
        ),
        at_least AS (
            PARTITION BY feature, method, scaling, split, n_rules ORDER BY prediction
            RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
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
        sum(is_active * n_active_at_least / n_at_least) / nullif(sum(is_active), 0) AS average_precision
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
