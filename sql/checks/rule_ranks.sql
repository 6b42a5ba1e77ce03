-- The rules of a feature under a method are ranked 1, 2, 3, ... without a gap; only the rows of a group share a rank.
-- Reads: methods, rules
SELECT
    format('{}.{} {} {}: {} ranks, from {} to {}', head_label(layer, head), feature, method, scaling, count(DISTINCT rank), min(rank), max(rank))
        AS problem
FROM rules
GROUP BY layer, head, feature, method, scaling
HAVING
    min(rank) <> 1 OR max(rank) <> count(DISTINCT rank)
    OR (max(rank) <> count(*) AND method NOT IN (SELECT m.method FROM methods AS m WHERE m.shares_rank IS NOT NULL));
