-- Grain of the deletion: the head whose output SAE is replaced.
DELETE FROM distractor_examples
WHERE layer = $layer AND head = $head;
