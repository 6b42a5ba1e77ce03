-- Grain of the deletion: a mined feature.
-- Reads: mined_features
-- Writes: stated_atoms
DELETE FROM stated_atoms
WHERE
    layer = $layer AND head = $head
    AND feature IN (SELECT f.feature FROM mined_features AS f);
