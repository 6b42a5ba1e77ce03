-- Grain: a list that is judged, in order of its number.
-- Reads: evaluated, rule_evaluations, ways
SELECT v.threshold
FROM evaluated AS e
INNER JOIN ways AS w ON e.way = w.way
INNER JOIN rule_evaluations AS v
    ON
        v.layer = $layer AND v.head = $head AND v.example_set = $example_set
        AND w.method = v.method AND w.scaling = v.scaling AND e.feature = v.feature AND e.n_rules = v.n_rules
ORDER BY e.list;
