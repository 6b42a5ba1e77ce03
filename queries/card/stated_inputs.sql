-- Grain: an input feature that the first stated rules of a feature speak of, by what it fires on.
-- Reads: input_features, stated_atoms
SELECT DISTINCT
    i.layer,
    i.feature,
    i.description
FROM stated_atoms AS a
INNER JOIN input_features AS i ON a.member_layer = i.layer AND a.member = i.feature
WHERE
    a.kind = 'feature' AND a.layer = $layer AND a.head = $head AND a.feature = $feature AND a.rank <= $n_rules
ORDER BY i.layer, i.feature;
