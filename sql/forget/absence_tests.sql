-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: absence_tests
DELETE FROM absence_tests
WHERE layer = $layer AND head = $head;
