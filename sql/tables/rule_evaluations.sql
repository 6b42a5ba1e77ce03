-- Grain: a list of the first n rules of a feature, judged on an example set.
CREATE TABLE rule_evaluations (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    method VARCHAR NOT NULL,
    scaling VARCHAR NOT NULL,
    example_set VARCHAR NOT NULL,
    n_rules INTEGER NOT NULL,
    n_rules_used INTEGER NOT NULL,
    aggregation VARCHAR NOT NULL,
    threshold DOUBLE,
    slope DOUBLE,
    intercept DOUBLE,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE rule_evaluations IS 'Which predictions exist and what was fitted to them on train; the grid that rule_predictions is spread over';
COMMENT ON COLUMN rule_evaluations.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rule_evaluations.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN rule_evaluations.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN rule_evaluations.method IS 'How the rules were found and ranked, or which baseline or ceiling it is: see the table methods';
COMMENT ON COLUMN rule_evaluations.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale, biases and layer norm of the model)';
COMMENT ON COLUMN rule_evaluations.example_set IS 'Which set of examples: paper (the strongest 3m sequences against 3m inactive ones), uniform, bins or all_positions';
COMMENT ON COLUMN rule_evaluations.n_rules IS 'Length of the list asked for';
COMMENT ON COLUMN rule_evaluations.n_rules_used IS 'Length it really has';
COMMENT ON COLUMN rule_evaluations.aggregation IS 'How the scores of matches become one prediction: max; sum; max_of_sums (over key positions, of the sum at each); sum_of_maxima; log_odds (of stated rules, whose weights are added)';
COMMENT ON COLUMN rule_evaluations.threshold IS 'Prediction above which F1 is largest on train; NULL where nothing is active there';
COMMENT ON COLUMN rule_evaluations.slope IS 'Of the line from prediction to activation, least squares on train';
COMMENT ON COLUMN rule_evaluations.intercept IS 'Of that line';
COMMENT ON COLUMN rule_evaluations.run_id IS 'Run that judged it';
