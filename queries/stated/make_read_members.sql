-- Grain: a member of an atom of a stated rule that is judged as it is read; an atom about positions has one row.
-- Reads: read_rules, stated_atoms
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
WHERE r.is_stated;
