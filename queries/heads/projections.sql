-- Grain: an input feature, in order of its id.
-- Reads: projections
SELECT
    key_vector,
    query_vector
FROM projections
WHERE layer = $layer AND head = $head
ORDER BY feature;
