-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: distractors
DELETE FROM distractors
WHERE layer = $layer AND head = $head;
