-- Grain: a key that recurs among the first rules of the features of a head.
-- Reads: input_features, rules
SELECT
    r.key_feature,
    any_value(i.description) AS description,
    count(DISTINCT r.feature) AS n_features,
    list(DISTINCT r.feature ORDER BY r.feature)[:8] AS features
FROM rules AS r
LEFT JOIN input_features AS i ON r.layer = i.layer AND r.key_feature = i.feature
WHERE r.layer = $layer AND r.head = $head AND r.method = $method AND r.rank <= 16
GROUP BY r.key_feature
HAVING count(DISTINCT r.feature) > 1
ORDER BY n_features DESC, r.key_feature ASC
LIMIT 12;
