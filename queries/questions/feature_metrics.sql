-- How well the rules of a feature predict it, by method and number of rules, beside baselines and ceilings, on test.
-- Group: one feature
-- Needs: rule_evaluations
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $example_set = "all_positions": one of all_positions, paper, uniform, bins
SELECT
    kind,
    method,
    scaling,
    n_rules_used AS n_rules,
    round(base_rate, 3) AS base_rate,
    round(average_precision, 3) AS average_precision,
    round(average_precision_low, 3) AS average_precision_low,
    round(average_precision_high, 3) AS average_precision_high,
    round(precision_at_threshold, 3) AS precision,
    round(recall_at_threshold, 3) AS recall,
    round(f1_at_threshold, 3) AS f1
FROM rule_metrics
WHERE layer = $layer AND head = $head AND feature = $feature AND split = 'test' AND example_set = $example_set
ORDER BY kind DESC, method ASC, scaling ASC, rule_metrics.n_rules ASC;
