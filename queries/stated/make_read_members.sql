-- Grain: a member of an atom of a rule that is judged as it is read; an atom about positions has one row.
-- Reads: read_rules, rules, stated_atoms
-- Makes: read_members
CREATE OR REPLACE TEMP TABLE read_members AS
SELECT
    r.rule,
    r.scope,
    a.atom,
    a.absent,
    a.at_least,
    a.place,
    a.nearest,
    a.farthest,
    a.above,
    a.kind,
    a.member_layer,
    a.member
FROM read_rules AS r
INNER JOIN stated_atoms AS a
    ON r.layer = a.layer AND r.head = a.head AND r.feature = a.feature AND r.rank = a.rank
WHERE r.is_stated
UNION ALL
-- A row of a rule names a key, and where the rule has queries one of them.
SELECT DISTINCT
    r.rule,
    r.scope,
    s.atom,
    FALSE AS absent,
    1 AS at_least,
    'offset' AS place,
    0 AS nearest,
    s.farthest,
    0 AS above,
    'feature' AS kind,
    k.layer AS member_layer,
    CASE s.atom WHEN 1 THEN k.key_feature ELSE k.query_feature END AS member
FROM read_rules AS r
INNER JOIN rules AS k
    ON
        r.layer = k.layer AND r.head = k.head AND r.feature = k.feature
        AND r.method = k.method AND r.scaling = k.scaling AND r.rank = k.rank
CROSS JOIN (VALUES (1, NULL::INTEGER), (2, 0)) AS s (atom, farthest)
WHERE
    NOT r.is_stated
    AND (s.atom = 1 OR k.query_feature IS NOT NULL);
