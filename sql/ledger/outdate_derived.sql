-- Grain of the update: a head. Its facts have changed; NULL until the derived columns are computed again.
-- Writes: heads
UPDATE heads SET
    kept_attention_mass = NULL,
    kept_attention_mass_from_features = NULL
WHERE kept_attention_mass IS NOT NULL;
