-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: rules
DELETE FROM rules
WHERE layer = $layer AND head = $head;
