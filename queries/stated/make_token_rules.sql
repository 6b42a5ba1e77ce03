-- Grain: a stated rule that tokens alone decide: no atom of it names an input feature.
-- Reads: methods, stated_atoms, stated_rules
-- Makes: read_rules
CREATE OR REPLACE TEMP TABLE read_rules AS
SELECT
    (row_number() OVER (ORDER BY r.layer, r.head, r.feature, r.rank) - 1)::INTEGER AS rule,
    0 AS scope,
    r.layer,
    r.head,
    r.feature,
    m.method,
    'none' AS scaling,
    TRUE AS is_stated,
    r.rank,
    r.weight,
    r.prior
FROM stated_rules AS r
INNER JOIN methods AS m ON m.match_score = 'holds'
SEMI JOIN (
    SELECT
        unnest($layers::INTEGER[]) AS layer,
        unnest($heads::INTEGER[]) AS head,
        unnest($features::INTEGER[]) AS feature
) AS f ON r.layer = f.layer AND r.head = f.head AND r.feature = f.feature
ANTI JOIN (
    SELECT a.*
    FROM stated_atoms AS a
    WHERE a.kind = 'feature'
) AS n ON r.layer = n.layer AND r.head = n.head AND r.feature = n.feature AND r.rank = n.rank
WHERE r.rank <= $n_rules;
