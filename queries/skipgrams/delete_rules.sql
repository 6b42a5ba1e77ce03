-- Grain: a rule of a mined feature found earlier by the same method.
-- Reads: mined_features
-- Writes: rules
DELETE FROM rules
WHERE
    layer = $layer
    AND head = $head
    AND method = $method
    AND scaling = $scaling
    AND feature IN (SELECT f.feature FROM mined_features AS f);
