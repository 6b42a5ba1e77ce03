-- Grain: a judged position, in order of its place.
-- Reads: judged
SELECT scope
FROM judged
ORDER BY place;
