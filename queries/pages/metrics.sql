-- Grain: a list of a feature of a page, a baseline or a ceiling, judged on all positions of test sequences.
-- Reads: rule_metrics
SELECT
    feature,
    kind,
    method,
    scaling,
    n_rules,
    n_rules_used,
    average_precision,
    average_precision_low,
    average_precision_high,
    precision_at_threshold,
    recall_at_threshold,
    f1_at_threshold,
    base_rate
FROM rule_metrics
WHERE
    layer = $layer AND head = $head AND split = 'test' AND example_set = 'all_positions'
    AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
ORDER BY feature, kind, method, scaling, n_rules;
