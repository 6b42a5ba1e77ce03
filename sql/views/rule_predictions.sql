-- Grain: an example of an output feature and a number of rules; 0 where no rule matches (method.md section 5.2).
CREATE VIEW rule_predictions AS
SELECT
    e.layer,
    e.head,
    e.feature,
    v.method,
    v.scaling,
    e.example_set,
    e.split,
    e.label,
    e.seq_id,
    e.pos,
    e.activation,
    v.n_rules,
    v.n_rules_used,
    v.aggregation,
    coalesce(s.prediction, 0) AS prediction,
    v.threshold,
    v.intercept + v.slope * coalesce(s.prediction, 0) AS predicted_activation
FROM examples AS e
INNER JOIN rule_evaluations AS v
    ON
        e.layer = v.layer
        AND e.head = v.head
        AND e.feature = v.feature
        AND e.example_set = v.example_set
LEFT JOIN rule_scores AS s
    ON
        e.layer = s.layer
        AND e.head = s.head
        AND e.feature = s.feature
        AND v.method = s.method
        AND v.scaling = s.scaling
        AND e.example_set = s.example_set
        AND e.seq_id = s.seq_id
        AND e.pos = s.pos
        AND v.n_rules = s.n_rules;
COMMENT ON VIEW rule_predictions IS 'What the first n_rules rules of a feature predict at each of its examples';
COMMENT ON COLUMN rule_predictions.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rule_predictions.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN rule_predictions.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN rule_predictions.method IS 'How the rules were found and ranked, or which baseline or ceiling it is: see the table methods';
COMMENT ON COLUMN rule_predictions.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale, biases and layer norm of the model)';
COMMENT ON COLUMN rule_predictions.example_set IS 'Which set of examples: paper (the strongest 3m sequences against 3m inactive ones), uniform, bins or all_positions';
COMMENT ON COLUMN rule_predictions.split IS 'train, val or test; thirds, stratified by label';
COMMENT ON COLUMN rule_predictions.label IS '1 where the feature is active, else 0';
COMMENT ON COLUMN rule_predictions.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN rule_predictions.pos IS 'Token position in the sequence, 0-based; position 0 is BOS';
COMMENT ON COLUMN rule_predictions.activation IS 'Activation of the feature there, 0 for a negative example';
COMMENT ON COLUMN rule_predictions.n_rules IS 'Length of the list asked for';
COMMENT ON COLUMN rule_predictions.n_rules_used IS 'Length it really has';
COMMENT ON COLUMN rule_predictions.aggregation IS 'How the scores of matches become one prediction: max; sum; max_of_sums (over key positions, of the sum at each); sum_of_maxima';
COMMENT ON COLUMN rule_predictions.prediction IS 'What the first n_rules rules predict, 0 where none matches';
COMMENT ON COLUMN rule_predictions.threshold IS 'Prediction above which F1 is largest on train; NULL where nothing is active there';
COMMENT ON COLUMN rule_predictions.predicted_activation IS 'intercept + slope * prediction, the line fitted on train; NULL without one';
