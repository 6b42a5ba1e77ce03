-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: feature_descriptions
DELETE FROM feature_descriptions
WHERE role = 'output' AND layer = $layer AND head = $head;
