-- Grain of the deletion: a description that this corpus gave before.
-- Writes: feature_descriptions
DELETE FROM feature_descriptions
WHERE kind = 'tokens';
