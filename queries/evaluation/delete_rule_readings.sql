-- Grain: a row of a mined feature.
-- Reads: mined_features
-- Writes: rule_readings
DELETE FROM rule_readings
WHERE
    layer = $layer
    AND head = $head
    AND feature IN (SELECT f.feature FROM mined_features AS f);
