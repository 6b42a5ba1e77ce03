-- Grain: the list of rules of a feature that best_lists chooses, for one example set.
-- Reads: best_lists
SELECT *
FROM best_lists
WHERE layer = $layer AND head = $head AND feature = $feature
ORDER BY example_set;
