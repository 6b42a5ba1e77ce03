-- Grain: an example, a way to predict and a number of rules with a match.
-- Reads: judged, predictions, ways
-- Writes: rule_scores
INSERT INTO rule_scores BY NAME
SELECT
    $layer AS layer,
    $head AS head,
    p.feature,
    w.method,
    w.scaling,
    $example_set AS example_set,
    j.seq_id,
    j.pos,
    p.n_rules,
    p.prediction
FROM predictions AS p
INNER JOIN judged AS j ON p.place = j.place
INNER JOIN ways AS w ON p.way = w.way
ORDER BY p.way, p.feature, j.seq_id, j.pos, p.n_rules;
