-- Grain of the deletion: the head whose output SAE is replaced.
DELETE FROM absence_tests
WHERE layer = $layer AND head = $head;
