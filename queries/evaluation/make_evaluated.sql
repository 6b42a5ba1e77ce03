-- Grain: a list of the first n rules of a mined feature under one way to predict, numbered by `list`. A feature has lists
-- when it has rules of the method, or when the method was run and found none. On all positions no list is judged that is
-- no longer than another.
-- Reads: lists, mined_features, ways
-- Makes: evaluated
CREATE OR REPLACE TEMP TABLE evaluated AS
WITH found AS (
    SELECT
        w.way,
        l.feature,
        l.n_rules,
        count(DISTINCT l.rank) AS n_found
    FROM lists AS l
    INNER JOIN ways AS w ON l.method = w.method AND l.scaling = w.scaling
    GROUP BY w.way, l.feature, l.n_rules
),

longest AS (
    SELECT
        way,
        max(n_rules) AS n_rules
    FROM found
    GROUP BY way
),

possible AS (
    SELECT
        w.way,
        w.mined_now,
        f.feature,
        unnest(w.grid) AS n_rules,
        coalesce(l.n_rules, list_min(w.grid)) AS longest
    FROM ways AS w
    CROSS JOIN mined_features AS f
    LEFT JOIN longest AS l ON w.way = l.way
)

SELECT
    (row_number() OVER (ORDER BY p.way, p.feature, p.n_rules) - 1)::INTEGER AS list,
    p.way,
    p.feature,
    p.n_rules,
    coalesce(sum(n.n_found), 0) AS n_rules_used
FROM possible AS p
LEFT JOIN found AS n ON p.way = n.way AND p.feature = n.feature AND p.n_rules >= n.n_rules
WHERE
    (p.mined_now OR (p.way, p.feature) IN (SELECT (o.way, o.feature) FROM found AS o))
    AND ($example_set <> 'all_positions' OR p.n_rules <= p.longest)
GROUP BY p.way, p.feature, p.n_rules;
