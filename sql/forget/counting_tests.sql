-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: counting_tests
DELETE FROM counting_tests
WHERE layer = $layer AND head = $head;
