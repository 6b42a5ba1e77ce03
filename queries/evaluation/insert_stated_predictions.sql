-- Grain: a judged position where one of the first n_rules stated rules of a feature holds: how likely the feature is active,
-- the weights of those that hold added to the log-odds that it is before any rule is looked at.
-- Reads: read_matches, read_rules
-- Writes: predictions
INSERT INTO predictions BY NAME
SELECT
    $way AS way,
    r.feature,
    g.n_rules,
    m.place,
    1 / (1 + exp(-(any_value(r.prior) + exact_sum(r.weight)))) AS prediction
FROM read_matches AS m
INNER JOIN read_rules AS r ON m.rule = r.rule
INNER JOIN (SELECT unnest($grid::INTEGER[]) AS n_rules) AS g ON r.rank <= g.n_rules
WHERE r.method = $method
GROUP BY r.feature, g.n_rules, m.place;
