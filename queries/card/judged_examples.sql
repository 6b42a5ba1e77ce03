-- Grain: an example of a feature in the `paper` set.
-- Reads: examples
SELECT
    seq_id,
    pos,
    split,
    label
FROM examples
WHERE layer = $layer AND head = $head AND feature = $feature AND example_set = 'paper'
ORDER BY seq_id, pos;
