-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: output_activations
DELETE FROM output_activations
WHERE layer = $layer AND head = $head;
