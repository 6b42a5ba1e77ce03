-- Grain: what is stored of the features that are mined again.
-- Writes: counting_counts
DELETE FROM counting_counts
WHERE
    layer = $layer
    AND head = $head
    AND scaling = $scaling
    AND feature IN (SELECT unnest($features::INTEGER[]));
