-- The rules of a feature under a method are ranked 1, 2, 3, ... without a gap.
SELECT
    format('L{}H{}.{} {} {}: {} rules, ranks {} to {}', layer, head, feature, method, scaling, count(*), min(rank), max(rank))
        AS problem
FROM rules
GROUP BY layer, head, feature, method, scaling
HAVING min(rank) <> 1 OR max(rank) <> count(*);
