-- Grain: a rule among the first of a list that is not stated, with how it does on test when it is taken as it is read.
-- Reads: methods, rule_readings
SELECT
    r.method,
    r.scaling,
    r.rank,
    r.precision,
    r.precision_low,
    r.precision_high,
    r.n_hits,
    r.n_matches
FROM rule_readings AS r
INNER JOIN methods AS m ON r.method = m.method
WHERE
    r.layer = $layer AND r.head = $head AND r.feature = $feature AND r.split = 'test'
    AND r.rank <= $n_rules AND m.match_score <> 'holds'
ORDER BY r.method, r.scaling, r.rank;
