-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: distractors
DELETE FROM distractors
WHERE layer = $layer AND head = $head;
