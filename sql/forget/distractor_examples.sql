-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: distractor_examples
DELETE FROM distractor_examples
WHERE layer = $layer AND head = $head;
