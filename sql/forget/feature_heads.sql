-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: feature_heads
DELETE FROM feature_heads
WHERE layer = $layer AND head = $head;
