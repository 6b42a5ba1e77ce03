-- Grain: a head of the model that was ingested, or a layer whose output SAE reads all heads (head -1).
-- Reads: heads, output_features
SELECT
    layer,
    head
FROM heads
UNION
SELECT
    layer,
    head
FROM output_features
ORDER BY layer, head;
