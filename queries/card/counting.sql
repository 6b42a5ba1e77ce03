-- Grain: a counting rule of the feature.
-- Reads: counting_summary
SELECT *
FROM counting_summary
WHERE layer = $layer AND head = $head AND feature = $feature AND pair <= $n_rules
ORDER BY scaling, pair;
