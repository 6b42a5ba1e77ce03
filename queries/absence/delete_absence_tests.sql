-- Grain: what is stored of the features that are mined again.
-- Writes: absence_tests
DELETE FROM absence_tests
WHERE
    layer = $layer
    AND head = $head
    AND scaling = $scaling
    AND feature IN (SELECT unnest($features::INTEGER[]));
