-- Grain: an example that `importance` learns from, in the order of its number.
SELECT
    feature,
    pos
FROM train_examples
ORDER BY example;
