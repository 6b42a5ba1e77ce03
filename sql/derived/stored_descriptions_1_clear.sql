-- Grain of the deletion: a description that this corpus gave a feature of $layer before.
-- Writes: feature_descriptions
DELETE FROM feature_descriptions
WHERE layer = $layer AND kind = 'tokens';
