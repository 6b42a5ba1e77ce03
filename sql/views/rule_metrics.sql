-- Grain: the first n_rules rules of a feature under a method, or a baseline or ceiling, judged on a split of an example
-- set, next to what chance and all input features reach there.
CREATE VIEW rule_metrics AS
SELECT
    v.layer,
    v.head,
    v.feature,
    v.method,
    m.kind,
    v.scaling,
    v.example_set,
    v.split,
    v.n_rules,
    v.n_rules_used,
    v.aggregation,
    v.precision,
    v.recall,
    v.f1,
    v.f1_low,
    v.f1_high,
    v.threshold,
    v.precision_at_threshold,
    v.recall_at_threshold,
    v.f1_at_threshold,
    v.f1_at_threshold_low,
    v.f1_at_threshold_high,
    v.spearman,
    v.average_precision,
    v.average_precision_low,
    v.average_precision_high,
    v.r2,
    v.n_examples,
    v.n_active,
    v.n_active / v.n_examples AS base_rate,
    2 * v.n_active / (v.n_active + v.n_examples) AS f1_always_active,
    c.f1_at_threshold AS ceiling_f1_at_threshold,
    c.average_precision AS ceiling_average_precision,
    c.r2 AS ceiling_r2
FROM rule_metric_values AS v
INNER JOIN methods AS m ON v.method = m.method
LEFT JOIN rule_metric_values AS c
    ON
        c.method = 'ceiling_from_features'
        AND v.layer = c.layer
        AND v.head = c.head
        AND v.feature = c.feature
        AND v.example_set = c.example_set
        AND v.split = c.split;
COMMENT ON VIEW rule_metrics IS 'How well the first n_rules rules of a feature predict it, next to the base rate and the ceiling (all input features, attention computed from them)';
