-- How well each method predicts with so many rules, layer by layer, beside baselines and ceilings: means over features.
-- Group: the warehouse
-- Needs: rule_evaluations
-- $example_set = "all_positions": one of all_positions, paper, uniform, bins
WITH judged AS (
    SELECT
        layer,
        kind,
        method,
        scaling,
        n_rules,
        unnest(['average precision', 'F1']) AS measure,
        unnest([average_precision, f1_at_threshold]) AS value
    FROM rule_metrics
    WHERE split = 'test' AND example_set = $example_set
),

means AS (
    SELECT
        layer,
        kind,
        method,
        scaling,
        n_rules,
        measure,
        count(value) AS n_features,
        exact_sum(value) / count(value) AS mean,
        1.96 * stddev_samp(value) / sqrt(count(value)) AS half_width
    FROM judged
    GROUP BY layer, kind, method, scaling, n_rules, measure
    HAVING count(value) > 0
)

SELECT
    layer,
    kind,
    method,
    scaling,
    n_rules,
    measure,
    n_features,
    round(mean, 4) AS mean,
    round(mean - half_width, 4) AS low,
    round(mean + half_width, 4) AS high
FROM means
ORDER BY layer ASC, measure ASC, kind DESC, method ASC, scaling ASC, n_rules ASC;
