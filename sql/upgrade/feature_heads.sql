-- Grain: an output feature of a head, which is all that its SAE reads, as in every warehouse before schema version 4.
-- Writes: feature_heads
INSERT INTO new.main.feature_heads BY NAME
SELECT
    f.layer,
    f.head,
    f.feature,
    f.head AS through_head,
    f.encoder,
    1 AS weight_share,
    1 AS data_share
FROM old.main.output_features AS f;
