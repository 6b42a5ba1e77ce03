-- Grain of the deletion: a description that this corpus gave before.
DELETE FROM feature_descriptions
WHERE kind = 'tokens';
