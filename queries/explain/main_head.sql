-- Grain: the head that an output feature reads most: by what it brings where the feature fires, else by weights.
-- Reads: feature_heads
SELECT through_head
FROM feature_heads
WHERE layer = $layer AND head = $head AND feature = $feature
ORDER BY data_share DESC NULLS LAST, weight_share DESC NULLS LAST, through_head ASC
LIMIT 1;
