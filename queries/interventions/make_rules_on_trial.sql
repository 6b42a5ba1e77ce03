-- Grain: a stated rule to test on the model, numbered by `rule`; looked for among the positions of its `scope`: its own,
-- its feature's, or those of all, as $each says.
-- Reads: methods, stated_rules
-- Makes: read_rules
CREATE OR REPLACE TEMP TABLE read_rules AS
WITH numbered AS (
    SELECT
        (row_number() OVER (ORDER BY s.feature, s.rank) - 1)::INTEGER AS rule,
        s.layer,
        s.head,
        s.feature,
        s.rank,
        m.method
    FROM stated_rules AS s
    INNER JOIN methods AS m ON m.match_score = 'holds'
    WHERE
        s.layer = $layer AND s.head = $head AND s.rank <= $n_rules
        AND s.feature IN (SELECT unnest($features::INTEGER[]))
)

SELECT
    n.rule,
    CASE $each WHEN 'rule' THEN n.rule WHEN 'feature' THEN n.feature ELSE 0 END AS scope,
    n.layer,
    n.head,
    n.feature,
    n.rank,
    TRUE AS is_stated,
    n.method,
    'none' AS scaling
FROM numbered AS n;
