-- Grain: a row of a mined feature.
-- Reads: mined_features
-- Writes: rule_metric_values
DELETE FROM rule_metric_values
WHERE
    layer = $layer
    AND head = $head
    AND feature IN (SELECT f.feature FROM mined_features AS f);
