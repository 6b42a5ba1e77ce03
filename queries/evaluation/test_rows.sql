-- Grain: a judged position of the test split and a list of rules, each list in order of its predictions.
-- Reads: evaluated, judged, judged_rows, rule_evaluations, ways
SELECT
    r.list,
    j.seq_id,
    r.prediction,
    r.activation > 0 AS is_active,
    v.threshold
FROM judged_rows AS r
INNER JOIN judged AS j ON r.place = j.place
INNER JOIN evaluated AS e ON r.list = e.list
INNER JOIN ways AS w ON e.way = w.way
INNER JOIN rule_evaluations AS v
    ON
        v.layer = $layer AND v.head = $head AND v.example_set = $example_set
        AND w.method = v.method AND w.scaling = v.scaling AND e.feature = v.feature AND e.n_rules = v.n_rules
WHERE r.split = 'test'
ORDER BY r.list ASC, r.prediction DESC;
