-- Grain: what is stored of the features that are mined again.
-- Writes: distractor_examples
DELETE FROM distractor_examples
WHERE
    layer = $layer
    AND head = $head
    AND scaling = $scaling
    AND feature IN (SELECT unnest($features::INTEGER[]));
