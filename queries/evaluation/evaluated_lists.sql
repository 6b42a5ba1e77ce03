-- Grain: a list that is judged, in order of its number.
-- Reads: evaluated
SELECT feature
FROM evaluated
ORDER BY list;
