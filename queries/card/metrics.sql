-- Grain: the first n rules of a method, on test examples.
SELECT
    method,
    scaling,
    n_rules,
    n_rules_used,
    precision,
    recall,
    f1,
    spearman,
    average_precision,
    n_active / n_examples AS base_rate
FROM rule_metrics
WHERE layer = $layer AND head = $head AND feature = $feature AND split = 'test'
ORDER BY method, scaling, n_rules;
