-- Grain: an output feature of a head, in the seeded order in which features are drawn.
-- Reads: output_features
SELECT
    f.feature,
    f.n_sequences
FROM output_features AS f
CROSS JOIN (SELECT mix32(s.seed + 256 * $layer + $head) AS seed FROM (SELECT mix32($seed) AS seed) AS s) AS h
WHERE f.layer = $layer AND f.head = $head
ORDER BY mix32(h.seed + f.feature), f.feature;
