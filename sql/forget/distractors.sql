-- Grain of the deletion: the head whose output SAE is replaced.
DELETE FROM distractors
WHERE layer = $layer AND head = $head;
