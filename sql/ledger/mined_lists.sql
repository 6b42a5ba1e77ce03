-- Grain: a method and scaling that mined rules, with how many it found, of how many features.
-- Reads: methods, rules, stated_rules
WITH found AS (
    SELECT
        method,
        scaling,
        layer,
        head,
        feature,
        rank
    FROM rules
    UNION ALL
    SELECT
        m.method,
        'none' AS scaling,
        s.layer,
        s.head,
        s.feature,
        s.rank
    FROM stated_rules AS s
    INNER JOIN methods AS m ON m.match_score = 'holds'
)

SELECT
    method,
    scaling,
    count(DISTINCT (layer, head, feature)) AS n_features,
    count(DISTINCT (layer, head, feature, rank)) AS n_rules
FROM found
GROUP BY ALL
ORDER BY ALL;
