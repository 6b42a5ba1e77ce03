-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: stated_tests
DELETE FROM stated_tests
WHERE layer = $layer AND head = $head;
