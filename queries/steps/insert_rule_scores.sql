-- Grain: an example and a number of rules with a match.
INSERT INTO rule_scores BY NAME
SELECT
    $layer AS layer,
    $head AS head,
    p.feature,
    $method AS method,
    $scaling AS scaling,
    $example_set AS example_set,
    p.seq_id,
    p.pos,
    p.n_rules,
    p.prediction
FROM predictions AS p
ORDER BY p.feature, p.seq_id, p.pos, p.n_rules;
