-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: feature_descriptions
DELETE FROM feature_descriptions
WHERE role = 'output' AND layer = $layer AND head = $head;
