-- Grain: an input feature that a stated rule of a feature of a page speaks of, by what it fires on.
-- Reads: input_features, stated_atoms
SELECT
    a.feature,
    a.rank,
    format('L{}.i{}', i.layer, i.feature) AS input_feature,
    i.description
FROM stated_atoms AS a
INNER JOIN input_features AS i ON a.member_layer = i.layer AND a.member = i.feature
WHERE
    a.kind = 'feature' AND a.layer = $layer AND a.head = $head
    AND a.feature IN (SELECT unnest($features::INTEGER[]) AS feature)
GROUP BY a.feature, a.rank, i.layer, i.feature, i.description
ORDER BY a.feature, a.rank, min(a.atom), i.layer, i.feature;
