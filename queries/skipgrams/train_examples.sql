-- Grain: an example that `importance` learns from, in the order of its number.
-- Reads: train_examples
SELECT
    feature,
    pos
FROM train_examples
ORDER BY example;
