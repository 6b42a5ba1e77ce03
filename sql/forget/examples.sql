-- Grain of the deletion: the head whose output SAE is replaced.
DELETE FROM examples
WHERE layer = $layer AND head = $head;
