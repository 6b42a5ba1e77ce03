-- Which method predicts best: means over features, by number of rules, beside baselines and ceilings, on the test split.
-- Group: the warehouse
-- Needs: rule_evaluations
-- $example_set = "all_positions": one of all_positions, paper, uniform, bins
SELECT
    kind,
    method,
    scaling,
    n_rules,
    count(*) AS n_features,
    round(avg(precision), 3) AS precision,
    round(avg(recall), 3) AS recall,
    round(avg(f1), 3) AS f1,
    round(median(f1), 3) AS median_f1,
    round(avg(f1_at_threshold), 3) AS f1_at_threshold,
    round(avg(spearman), 3) AS spearman,
    round(avg(average_precision), 3) AS average_precision,
    round(avg(r2), 3) AS r2,
    round(sum(n_active) / sum(n_examples), 3) AS base_rate
FROM rule_metrics
WHERE split = 'test' AND example_set = $example_set
GROUP BY kind, method, scaling, n_rules
ORDER BY kind DESC, method ASC, scaling ASC, n_rules ASC;
