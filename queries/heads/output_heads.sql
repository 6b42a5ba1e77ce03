-- Grain: a head whose output an SAE reads, or a whole layer (head -1).
-- Reads: output_features
SELECT DISTINCT
    layer,
    head
FROM output_features
ORDER BY layer, head;
