-- Grain: the first n rules of a method, or a baseline or ceiling, on the test split of an example set.
-- Reads: rule_metrics
SELECT
    method,
    kind,
    scaling,
    example_set,
    n_rules,
    n_rules_used,
    precision,
    recall,
    f1,
    f1_at_threshold,
    f1_at_threshold_low,
    f1_at_threshold_high,
    spearman,
    average_precision,
    average_precision_low,
    average_precision_high,
    r2,
    base_rate,
    ceiling_f1_at_threshold,
    ceiling_average_precision
FROM rule_metrics
WHERE layer = $layer AND head = $head AND feature = $feature AND split = 'test'
ORDER BY kind DESC, method ASC, scaling ASC, example_set ASC, n_rules ASC;
