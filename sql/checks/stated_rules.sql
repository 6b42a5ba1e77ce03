-- The stated rules of a feature are ranked 1, 2, 3, ... without a gap, and each has its atoms in stated_atoms.
-- Reads: stated_atoms, stated_rules
SELECT
    format('L{}H{}.{} stated rules: {} rows, ranks from {} to {}', layer, head, feature, count(*), min(rank), max(rank))
        AS problem
FROM stated_rules
GROUP BY layer, head, feature
HAVING min(rank) <> 1 OR max(rank) <> count(*) OR count(DISTINCT rank) <> count(*)
UNION ALL
SELECT
    format('L{}H{}.{} stated rule {} is in one of stated_rules and stated_atoms alone', layer, head, feature, rank)
        AS problem
FROM (
    SELECT
        coalesce(r.layer, a.layer) AS layer,
        coalesce(r.head, a.head) AS head,
        coalesce(r.feature, a.feature) AS feature,
        coalesce(r.rank, a.rank) AS rank
    FROM stated_rules AS r
    FULL JOIN (
        SELECT DISTINCT
            layer,
            head,
            feature,
            rank
        FROM stated_atoms
    ) AS a ON r.layer = a.layer AND r.head = a.head AND r.feature = a.feature AND r.rank = a.rank
    WHERE r.rank IS NULL OR a.rank IS NULL
) AS alone;
