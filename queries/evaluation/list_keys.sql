-- Grain: a key of lists whose predictions are sums, and the scope of the positions that it is asked for at.
-- Reads: lists
SELECT DISTINCT
    scope,
    through_head,
    key_feature
FROM lists
WHERE method IN (SELECT unnest($methods::VARCHAR[]));
