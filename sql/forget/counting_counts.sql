-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: counting_counts
DELETE FROM counting_counts
WHERE layer = $layer AND head = $head;
