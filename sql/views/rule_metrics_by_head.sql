-- Grain: a head, a method, a split and a number of rules.
CREATE VIEW rule_metrics_by_head AS
SELECT
    layer,
    head,
    method,
    scaling,
    example_set,
    split,
    n_rules,
    count(*) AS n_features,
    avg(precision) AS mean_precision,
    avg(recall) AS mean_recall,
    avg(f1) AS mean_f1,
    median(f1) AS median_f1,
    avg((f1 >= 0.8)::DOUBLE) AS share_f1_at_least_80,
    avg(spearman) AS mean_spearman,
    avg(average_precision) AS mean_average_precision,
    sum(n_active) / sum(n_examples) AS base_rate
FROM rule_metrics
GROUP BY layer, head, method, scaling, example_set, split, n_rules;
COMMENT ON VIEW rule_metrics_by_head IS 'Metrics of rules averaged over the features of a head';
