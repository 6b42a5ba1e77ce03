-- Grain: a row of a mined feature.
-- Reads: mined_features
-- Writes: rule_scores
DELETE FROM rule_scores
WHERE
    layer = $layer
    AND head = $head
    AND feature IN (SELECT f.feature FROM mined_features AS f);
