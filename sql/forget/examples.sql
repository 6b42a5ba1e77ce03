-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: examples
DELETE FROM examples
WHERE layer = $layer AND head = $head;
