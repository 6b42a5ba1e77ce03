-- Grain: a key (atom 1) or a query (atom 2) of a rule that is not stated, which is read as "one of the keys anywhere up to
-- here, one of the queries here".
-- Reads: read_rules, rules
-- Makes: key_members
CREATE OR REPLACE TEMP TABLE key_members AS
SELECT DISTINCT
    r.rule,
    s.atom,
    CASE s.atom WHEN 1 THEN k.key_feature ELSE k.query_feature END AS member
FROM read_rules AS r
INNER JOIN rules AS k
    ON
        r.layer = k.layer AND r.head = k.head AND r.feature = k.feature
        AND r.method = k.method AND r.scaling = k.scaling AND r.rank = k.rank
CROSS JOIN (VALUES (1), (2)) AS s (atom)
WHERE NOT r.is_stated AND (s.atom = 1 OR k.query_feature IS NOT NULL);
