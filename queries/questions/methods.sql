-- Which method predicts best: mean metrics over features, by number of rules, on the test split.
SELECT
    method,
    scaling,
    n_rules,
    count(*) AS n_features,
    round(avg(precision), 3) AS precision,
    round(avg(recall), 3) AS recall,
    round(avg(f1), 3) AS f1,
    round(median(f1), 3) AS median_f1,
    round(avg(spearman), 3) AS spearman,
    round(avg(average_precision), 3) AS average_precision,
    round(sum(n_active) / sum(n_examples), 3) AS base_rate
FROM rule_metrics
WHERE split = 'test'
GROUP BY method, scaling, n_rules
ORDER BY method, scaling, n_rules;
