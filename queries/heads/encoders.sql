-- Grain: an output feature of an SAE, in order of its id, with the part that reads one head.
-- Reads: feature_heads
SELECT encoder
FROM feature_heads
WHERE layer = $layer AND head = $head AND through_head = $through_head
ORDER BY feature;
