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
),

by_feature AS (
    SELECT
        method,
        scaling,
        layer,
        head,
        feature,
        count(DISTINCT rank) AS n_rules
    FROM found
    GROUP BY ALL
)

SELECT
    method,
    scaling,
    count(*) AS n_features,
    cast(sum(n_rules) AS BIGINT) AS n_rules
FROM by_feature
GROUP BY ALL
ORDER BY ALL;
