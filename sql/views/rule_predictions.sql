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
