-- Grain: a method with lists of features of a head, found by a run that drew otherwise, that are not found anew now.
-- Reads: methods, other_runs, rules, stated_rules
WITH found AS (
    SELECT
        feature,
        method,
        scaling,
        run_id
    FROM rules
    WHERE layer = $layer AND head = $head
    UNION ALL
    SELECT
        s.feature,
        m.method,
        'none' AS scaling,
        s.run_id
    FROM stated_rules AS s
    INNER JOIN methods AS m ON m.match_score = 'holds'
    WHERE s.layer = $layer AND s.head = $head
)

SELECT
    f.method,
    count(DISTINCT f.feature) AS n_features
FROM found AS f
SEMI JOIN other_runs AS o ON f.run_id = o.run_id AND f.method = o.method
WHERE list_contains($features, f.feature) AND NOT list_contains($mined_now, f.method || ' ' || f.scaling)
GROUP BY f.method
ORDER BY f.method;
