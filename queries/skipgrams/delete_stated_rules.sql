-- Grain of the deletion: a mined feature.
-- Reads: mined_features
-- Writes: stated_rules
DELETE FROM stated_rules
WHERE
    layer = $layer AND head = $head
    AND feature IN (SELECT f.feature FROM mined_features AS f);
