-- Grain: an output feature of a head, in order of its id.
-- Reads: output_features
SELECT encoder
FROM output_features
WHERE layer = $layer AND head = $head
ORDER BY feature;
