-- Grain: an output feature of a head, in the seeded order in which features are drawn.
-- Reads: output_features
SELECT
    feature,
    n_sequences
FROM output_features
WHERE layer = $layer AND head = $head
ORDER BY mix32(mix32(mix32($seed) + 256 * $layer + $head) + feature), feature;
