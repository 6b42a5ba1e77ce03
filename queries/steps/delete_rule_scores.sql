-- Grain: a row of a mined feature under the `paper` examples.
DELETE FROM rule_scores
WHERE
    layer = $layer
    AND head = $head
    AND example_set = 'paper'
    AND feature IN (SELECT f.feature FROM mined_features AS f);
