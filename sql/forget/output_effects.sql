-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: output_effects
DELETE FROM output_effects
WHERE layer = $layer AND head = $head;
