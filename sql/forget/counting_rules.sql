-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: counting_rules
DELETE FROM counting_rules
WHERE layer = $layer AND head = $head;
