-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: examples
DELETE FROM examples
WHERE layer = $layer AND head = $head;
