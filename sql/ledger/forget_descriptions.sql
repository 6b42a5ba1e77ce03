-- Grain of the deletion: an imported description that is imported anew.
-- Writes: feature_descriptions
DELETE FROM feature_descriptions
WHERE kind = 'imported' AND layer = $layer AND list_contains($sources, source);
