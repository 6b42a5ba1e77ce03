-- Grain: a list of the first n rules of a mined feature under one method. A feature has lists when it has rules of the
-- method, or when the method was run and found none. On all positions no list is judged that is no longer than another.
-- Reads: lists, mined_features
-- Makes: evaluated
CREATE OR REPLACE TEMP TABLE evaluated AS
WITH found AS (
    SELECT
        feature,
        n_rules,
        count(DISTINCT rank) AS n_found
    FROM lists
    WHERE method = $method AND scaling = $scaling
    GROUP BY feature, n_rules
)

SELECT
    f.feature,
    g.n_rules,
    coalesce(sum(n.n_found), 0) AS n_rules_used
FROM mined_features AS f
CROSS JOIN (SELECT unnest($grid::INTEGER[]) AS n_rules) AS g
LEFT JOIN found AS n ON f.feature = n.feature AND g.n_rules >= n.n_rules
WHERE
    ($mined_now OR f.feature IN (SELECT l.feature FROM found AS l))
    AND (
        $example_set <> 'all_positions'
        OR g.n_rules <= (SELECT coalesce(max(m.n_rules), list_min($grid::INTEGER[])) FROM found AS m)
    )
GROUP BY f.feature, g.n_rules;
