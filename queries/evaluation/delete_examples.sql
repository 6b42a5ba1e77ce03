-- Grain: a row of a mined feature.
-- Reads: mined_features
-- Writes: examples
DELETE FROM examples
WHERE
    layer = $layer
    AND head = $head
    AND feature IN (SELECT f.feature FROM mined_features AS f);
