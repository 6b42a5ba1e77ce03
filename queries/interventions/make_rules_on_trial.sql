-- Grain: a stated rule to test on the model, numbered by `rule`; looked for among the positions of its `scope`: its feature's,
-- or where $by_feature is false those of all.
-- Reads: methods, stated_rules
-- Makes: read_rules
CREATE OR REPLACE TEMP TABLE read_rules AS
SELECT
    (row_number() OVER (ORDER BY s.feature, s.rank) - 1)::INTEGER AS rule,
    CASE WHEN $by_feature THEN s.feature ELSE 0 END AS scope,
    s.layer,
    s.head,
    s.feature,
    s.rank,
    TRUE AS is_stated,
    m.method,
    'none' AS scaling
FROM stated_rules AS s
INNER JOIN methods AS m ON m.match_score = 'holds'
WHERE
    s.layer = $layer AND s.head = $head AND s.rank <= $n_rules
    AND s.feature IN (SELECT unnest($features::INTEGER[]));
