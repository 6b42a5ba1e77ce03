-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: rules
DELETE FROM rules
WHERE layer = $layer AND head = $head;
