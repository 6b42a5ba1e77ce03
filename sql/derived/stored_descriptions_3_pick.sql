-- Grain of the update: an input feature of $layer. The best description there is: imported, then tokens, then embedding.
-- Reads: feature_descriptions
-- Writes: input_features
UPDATE input_features SET description = b.description
FROM (
    SELECT
        layer,
        feature,
        description
    FROM feature_descriptions
    WHERE role = 'input' AND layer = $layer
    QUALIFY
        row_number() OVER (
            PARTITION BY layer, feature
            ORDER BY list_position(['imported', 'tokens', 'embedding'], kind) ASC, source ASC, description ASC
        ) = 1
) AS b
WHERE input_features.layer = b.layer AND input_features.feature = b.feature;
