-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: output_features
DELETE FROM output_features
WHERE layer = $layer AND head = $head;
