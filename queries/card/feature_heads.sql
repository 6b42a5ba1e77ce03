-- Grain: a head that the feature reads.
-- Reads: feature_heads
SELECT
    through_head,
    weight_share,
    data_share,
    mean_contribution
FROM feature_heads
WHERE layer = $layer AND head = $head AND feature = $feature
ORDER BY through_head;
