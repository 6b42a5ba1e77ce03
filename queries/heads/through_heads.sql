-- Grain: a head that an output SAE reads.
-- Reads: feature_heads
SELECT DISTINCT through_head
FROM feature_heads
WHERE layer = $layer AND head = $head
ORDER BY through_head;
