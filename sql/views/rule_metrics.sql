-- Grain: the first n_rules rules of a feature under a method, judged on a split of an example set.
CREATE VIEW rule_metrics AS
SELECT
    layer,
    head,
    feature,
    method,
    scaling,
    example_set,
    split,
    n_rules,
    n_rules_used,
    precision,
    recall,
    f1,
    spearman,
    average_precision,
    n_examples,
    n_active
FROM rule_metric_values;
COMMENT ON VIEW rule_metrics IS 'How well the first n_rules rules of a feature predict it';
