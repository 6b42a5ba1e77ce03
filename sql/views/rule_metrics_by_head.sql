-- Grain: a head, a method, a split and a number of rules.
CREATE VIEW rule_metrics_by_head AS
SELECT
    layer,
    head,
    method,
    kind,
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
    avg(f1_at_threshold) AS mean_f1_at_threshold,
    median(f1_at_threshold) AS median_f1_at_threshold,
    avg((f1_at_threshold >= 0.8)::DOUBLE) AS share_f1_at_threshold_at_least_80,
    avg(spearman) AS mean_spearman,
    avg(average_precision) AS mean_average_precision,
    median(average_precision) AS median_average_precision,
    avg(r2) AS mean_r2,
    avg(ceiling_average_precision) AS mean_ceiling_average_precision,
    avg(f1_always_active) AS mean_f1_always_active,
    sum(n_active) / sum(n_examples) AS base_rate
FROM rule_metrics
GROUP BY layer, head, method, kind, scaling, example_set, split, n_rules;
COMMENT ON VIEW rule_metrics_by_head IS 'Metrics of rules averaged over the features of a head, next to the base rate and the ceiling';
