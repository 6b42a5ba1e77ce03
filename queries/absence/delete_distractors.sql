-- Grain: what is stored of the features that are mined again.
-- Writes: distractors
DELETE FROM distractors
WHERE
    layer = $layer
    AND head = $head
    AND scaling = $scaling
    AND feature IN (SELECT unnest($features::INTEGER[]));
