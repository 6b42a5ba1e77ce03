-- Grain: what is stored of the features that are mined again.
-- Writes: counting_tests
DELETE FROM counting_tests
WHERE
    layer = $layer
    AND head = $head
    AND scaling = $scaling
    AND feature IN (SELECT unnest($features::INTEGER[]));
