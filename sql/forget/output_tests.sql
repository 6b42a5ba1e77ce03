-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: output_tests
DELETE FROM output_tests
WHERE layer = $layer AND head = $head;
