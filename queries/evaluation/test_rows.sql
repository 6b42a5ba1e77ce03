-- Grain: a judged position of the test split and a list of rules, each list in order of its predictions.
-- Reads: judged, judged_rows, rule_evaluations
SELECT
    r.feature,
    r.n_rules,
    j.seq_id,
    r.prediction,
    r.activation > 0 AS is_active,
    v.threshold
FROM judged_rows AS r
INNER JOIN judged AS j ON r.place = j.place
INNER JOIN rule_evaluations AS v
    ON
        v.layer = $layer AND v.head = $head
        AND v.method = $method AND v.scaling = $scaling AND v.example_set = $example_set
        AND r.feature = v.feature AND r.n_rules = v.n_rules
WHERE r.split = 'test'
ORDER BY r.feature ASC, r.n_rules ASC, r.prediction DESC;
