-- Grain: an absence rule of the feature.
-- Reads: absence_summary
SELECT *
FROM absence_summary
WHERE layer = $layer AND head = $head AND feature = $feature AND pair <= $n_rules
ORDER BY scaling, pair;
