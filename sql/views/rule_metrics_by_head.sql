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
COMMENT ON COLUMN rule_metrics_by_head.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rule_metrics_by_head.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN rule_metrics_by_head.method IS 'How the rules were found and ranked, or which baseline or ceiling it is: see the table methods';
COMMENT ON COLUMN rule_metrics_by_head.kind IS 'rules, baseline or ceiling';
COMMENT ON COLUMN rule_metrics_by_head.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale, biases and layer norm of the model)';
COMMENT ON COLUMN rule_metrics_by_head.example_set IS 'Which set of examples: paper (the strongest 3m sequences against 3m inactive ones), uniform, bins or all_positions';
COMMENT ON COLUMN rule_metrics_by_head.split IS 'train, val or test';
COMMENT ON COLUMN rule_metrics_by_head.n_rules IS 'Length of the list asked for';
COMMENT ON COLUMN rule_metrics_by_head.n_features IS 'Features that the figures are of';
COMMENT ON COLUMN rule_metrics_by_head.mean_precision IS 'Mean precision over the features, active where the prediction is > 0';
COMMENT ON COLUMN rule_metrics_by_head.mean_recall IS 'Mean recall';
COMMENT ON COLUMN rule_metrics_by_head.mean_f1 IS 'Mean F1';
COMMENT ON COLUMN rule_metrics_by_head.median_f1 IS 'Median F1';
COMMENT ON COLUMN rule_metrics_by_head.share_f1_at_least_80 IS 'Share of the features with an F1 of at least .8';
COMMENT ON COLUMN rule_metrics_by_head.mean_f1_at_threshold IS 'Mean F1 at the threshold chosen on train';
COMMENT ON COLUMN rule_metrics_by_head.median_f1_at_threshold IS 'Median of it';
COMMENT ON COLUMN rule_metrics_by_head.share_f1_at_threshold_at_least_80 IS 'Share of the features at which it is at least .8';
COMMENT ON COLUMN rule_metrics_by_head.mean_spearman IS 'Mean rank correlation of prediction and activation, over the features that have one';
COMMENT ON COLUMN rule_metrics_by_head.mean_average_precision IS 'Mean average precision, over the features active in the split';
COMMENT ON COLUMN rule_metrics_by_head.median_average_precision IS 'Median average precision, over the same';
COMMENT ON COLUMN rule_metrics_by_head.mean_r2 IS 'Mean r2, over the features whose activation varies in the split';
COMMENT ON COLUMN rule_metrics_by_head.mean_ceiling_average_precision IS 'Mean average precision of all input features together (ceiling_from_features)';
COMMENT ON COLUMN rule_metrics_by_head.mean_f1_always_active IS 'Mean F1 of the prediction that they are active everywhere';
COMMENT ON COLUMN rule_metrics_by_head.base_rate IS 'Active examples as a share of all, features together';
