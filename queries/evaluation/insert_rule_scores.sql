-- Grain: an example and a number of rules with a match.
-- Reads: judged, predictions
-- Writes: rule_scores
INSERT INTO rule_scores BY NAME
SELECT
    $layer AS layer,
    $head AS head,
    p.feature,
    $method AS method,
    $scaling AS scaling,
    $example_set AS example_set,
    j.seq_id,
    j.pos,
    p.n_rules,
    p.prediction
FROM predictions AS p
INNER JOIN judged AS j ON p.place = j.place
ORDER BY p.feature, j.seq_id, j.pos, p.n_rules;
