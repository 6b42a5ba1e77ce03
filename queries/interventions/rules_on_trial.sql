-- Grain: a member of an atom of a rule to test; an atom about positions has one row.
-- Reads: read_members, read_rules
SELECT
    r.rule,
    r.feature,
    r.rank,
    m.atom,
    m.absent,
    m.at_least,
    m.place,
    m.nearest,
    m.farthest,
    m.above,
    m.kind,
    m.member
FROM read_rules AS r
INNER JOIN read_members AS m ON r.rule = m.rule
ORDER BY r.rule, m.atom, m.kind, m.member;
