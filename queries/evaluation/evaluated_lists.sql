-- Grain: a list that is judged, in order of its number.
-- Reads: evaluated
SELECT
    way,
    feature,
    n_rules
FROM evaluated
ORDER BY list;
