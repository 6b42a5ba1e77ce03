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
COMMENT ON COLUMN rule_metrics.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rule_metrics.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN rule_metrics.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN rule_metrics.method IS 'How the rules were found and ranked, or which baseline or ceiling it is: see the table methods';
COMMENT ON COLUMN rule_metrics.kind IS 'rules, baseline or ceiling';
COMMENT ON COLUMN rule_metrics.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale, biases and layer norm of the model)';
COMMENT ON COLUMN rule_metrics.example_set IS 'Which set of examples: paper (the strongest 3m sequences against 3m inactive ones), uniform, bins or all_positions';
COMMENT ON COLUMN rule_metrics.split IS 'train, val or test';
COMMENT ON COLUMN rule_metrics.n_rules IS 'Length of the list asked for';
COMMENT ON COLUMN rule_metrics.n_rules_used IS 'Length it really has';
COMMENT ON COLUMN rule_metrics.aggregation IS 'How the scores of matches become one prediction; see rule_evaluations';
COMMENT ON COLUMN rule_metrics.precision IS 'Share of predicted active that is active; 1 where nothing is predicted active';
COMMENT ON COLUMN rule_metrics.recall IS 'Share of active that is predicted active; 1 where nothing is active';
COMMENT ON COLUMN rule_metrics.f1 IS 'Harmonic mean of the two; 0 where both are 0. Predicted active is prediction > 0';
COMMENT ON COLUMN rule_metrics.f1_low IS 'Lower end of the 95% bootstrap interval of f1 over sequences; NULL on other splits than test';
COMMENT ON COLUMN rule_metrics.f1_high IS 'Upper end of that interval';
COMMENT ON COLUMN rule_metrics.threshold IS 'Prediction above which F1 is largest on train; NULL where nothing is active there';
COMMENT ON COLUMN rule_metrics.precision_at_threshold IS 'precision with that threshold in place of 0';
COMMENT ON COLUMN rule_metrics.recall_at_threshold IS 'recall with that threshold in place of 0';
COMMENT ON COLUMN rule_metrics.f1_at_threshold IS 'F1 with that threshold in place of 0';
COMMENT ON COLUMN rule_metrics.f1_at_threshold_low IS 'Lower end of the 95% bootstrap interval of f1_at_threshold over sequences; NULL on other splits than test';
COMMENT ON COLUMN rule_metrics.f1_at_threshold_high IS 'Upper end of that interval';
COMMENT ON COLUMN rule_metrics.spearman IS 'Rank correlation of prediction and activation; NULL where one side is constant';
COMMENT ON COLUMN rule_metrics.average_precision IS 'Average precision of the prediction as a score; NULL where nothing is active';
COMMENT ON COLUMN rule_metrics.average_precision_low IS 'Lower end of the 95% bootstrap interval of average_precision over sequences; NULL on other splits than test';
COMMENT ON COLUMN rule_metrics.average_precision_high IS 'Upper end of that interval';
COMMENT ON COLUMN rule_metrics.r2 IS 'Share of the variance of the activation that intercept + slope * prediction explains, the line fitted on train; below 0 where the mean does better, NULL where the activation is constant';
COMMENT ON COLUMN rule_metrics.n_examples IS 'Examples in the split';
COMMENT ON COLUMN rule_metrics.n_active IS 'Of these, active ones: n_active / n_examples is the base rate';
COMMENT ON COLUMN rule_metrics.base_rate IS 'n_active / n_examples: the precision of a guess';
COMMENT ON COLUMN rule_metrics.f1_always_active IS 'F1 of the prediction that it is active everywhere';
COMMENT ON COLUMN rule_metrics.ceiling_f1_at_threshold IS 'f1_at_threshold of all input features together (ceiling_from_features) on the same examples; NULL where it was not judged';
COMMENT ON COLUMN rule_metrics.ceiling_average_precision IS 'Average precision of that ceiling';
COMMENT ON COLUMN rule_metrics.ceiling_r2 IS 'r2 of that ceiling';
