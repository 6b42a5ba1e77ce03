-- Grain: a rule of a mined feature that is judged as it is read, numbered by `rule`: every stated rule, and the first
-- n_read of every other list, which are read as "one of the keys anywhere up to here, one of the queries here".
-- Reads: methods, mined_features, other_runs, rules, stated_rules
-- Makes: read_rules
CREATE OR REPLACE TEMP TABLE read_rules AS
WITH found AS (
    SELECT
        s.feature,
        m.method,
        'none' AS scaling,
        TRUE AS is_stated,
        s.rank,
        s.weight,
        s.prior
    FROM stated_rules AS s
    INNER JOIN methods AS m ON m.match_score = 'holds'
    ANTI JOIN other_runs AS o ON s.run_id = o.run_id AND m.method = o.method
    WHERE s.layer = $layer AND s.head = $head
    UNION ALL
    SELECT DISTINCT
        r.feature,
        r.method,
        r.scaling,
        FALSE AS is_stated,
        r.rank,
        0 AS weight,
        0 AS prior
    FROM rules AS r
    ANTI JOIN other_runs AS o ON r.run_id = o.run_id AND r.method = o.method
    WHERE r.layer = $layer AND r.head = $head AND r.rank <= $n_read
)

SELECT
    (row_number() OVER (ORDER BY f.method, f.scaling, f.feature, f.rank) - 1)::INTEGER AS rule,
    CASE WHEN $example_set = 'all_positions' THEN 0 ELSE f.feature END AS scope,
    $layer::INTEGER AS layer,
    $head::INTEGER AS head,
    f.feature,
    f.method,
    f.scaling,
    f.is_stated,
    f.rank,
    f.weight,
    f.prior
FROM found AS f
SEMI JOIN mined_features AS m ON f.feature = m.feature
WHERE f.is_stated OR $example_set = 'all_positions';
