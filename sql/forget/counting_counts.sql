-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: counting_counts
DELETE FROM counting_counts
WHERE layer = $layer AND head = $head;
