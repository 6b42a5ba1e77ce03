-- Grain: a list of the first n rules of a feature, judged on a split of an example set.
CREATE TABLE rule_metric_values (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    method VARCHAR NOT NULL,
    scaling VARCHAR NOT NULL,
    example_set VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    n_rules INTEGER NOT NULL,
    n_rules_used INTEGER NOT NULL,
    aggregation VARCHAR NOT NULL,
    precision DOUBLE NOT NULL,
    recall DOUBLE NOT NULL,
    f1 DOUBLE NOT NULL,
    threshold DOUBLE,
    precision_at_threshold DOUBLE,
    recall_at_threshold DOUBLE,
    f1_at_threshold DOUBLE,
    spearman DOUBLE,
    average_precision DOUBLE,
    r2 DOUBLE,
    f1_low DOUBLE,
    f1_high DOUBLE,
    f1_at_threshold_low DOUBLE,
    f1_at_threshold_high DOUBLE,
    average_precision_low DOUBLE,
    average_precision_high DOUBLE,
    n_examples BIGINT NOT NULL,
    n_active BIGINT NOT NULL
);
COMMENT ON TABLE rule_metric_values IS 'Stored values behind the view rule_metrics';
COMMENT ON COLUMN rule_metric_values.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rule_metric_values.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN rule_metric_values.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN rule_metric_values.method IS 'How the rules were found and ranked, or which baseline or ceiling it is: see the table methods';
COMMENT ON COLUMN rule_metric_values.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale, biases and layer norm of the model)';
COMMENT ON COLUMN rule_metric_values.example_set IS 'Which set of examples: paper (the strongest 3m sequences against 3m inactive ones), uniform, bins or all_positions';
COMMENT ON COLUMN rule_metric_values.split IS 'train, val or test';
COMMENT ON COLUMN rule_metric_values.n_rules IS 'Length of the list asked for';
COMMENT ON COLUMN rule_metric_values.n_rules_used IS 'Length it really has';
COMMENT ON COLUMN rule_metric_values.aggregation IS 'How the scores of matches become one prediction; see rule_evaluations';
COMMENT ON COLUMN rule_metric_values.precision IS 'Share of predicted active that is active; 1 where nothing is predicted active';
COMMENT ON COLUMN rule_metric_values.recall IS 'Share of active that is predicted active; 1 where nothing is active';
COMMENT ON COLUMN rule_metric_values.f1 IS 'Harmonic mean of the two; 0 where both are 0. Predicted active is prediction > 0';
COMMENT ON COLUMN rule_metric_values.threshold IS 'Prediction above which F1 is largest on train; NULL where nothing is active there';
COMMENT ON COLUMN rule_metric_values.precision_at_threshold IS 'precision with that threshold in place of 0';
COMMENT ON COLUMN rule_metric_values.recall_at_threshold IS 'recall with that threshold in place of 0';
COMMENT ON COLUMN rule_metric_values.f1_at_threshold IS 'F1 with that threshold in place of 0';
COMMENT ON COLUMN rule_metric_values.spearman IS 'Rank correlation of prediction and activation; NULL where one side is constant';
COMMENT ON COLUMN rule_metric_values.average_precision IS 'Average precision of the prediction as a score; NULL where nothing is active';
COMMENT ON COLUMN rule_metric_values.r2 IS 'Share of the variance of the activation that intercept + slope * prediction explains, the line fitted on train; below 0 where the mean does better, NULL where the activation is constant';
COMMENT ON COLUMN rule_metric_values.f1_low IS 'Lower end of the 95% bootstrap interval of f1 over sequences; NULL on other splits than test, and where the feature is active in fewer than 5 sequences';
COMMENT ON COLUMN rule_metric_values.f1_high IS 'Upper end of that interval';
COMMENT ON COLUMN rule_metric_values.f1_at_threshold_low IS 'Lower end of the 95% bootstrap interval of f1_at_threshold over sequences; NULL on other splits than test, and where the feature is active in fewer than 5 sequences';
COMMENT ON COLUMN rule_metric_values.f1_at_threshold_high IS 'Upper end of that interval';
COMMENT ON COLUMN rule_metric_values.average_precision_low IS 'Lower end of the 95% bootstrap interval of average_precision over sequences; NULL on other splits than test, and where the feature is active in fewer than 5 sequences';
COMMENT ON COLUMN rule_metric_values.average_precision_high IS 'Upper end of that interval';
COMMENT ON COLUMN rule_metric_values.n_examples IS 'Examples in the split';
COMMENT ON COLUMN rule_metric_values.n_active IS 'Of these, active ones: n_active / n_examples is the base rate';
