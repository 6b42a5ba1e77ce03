-- Grain: a train example of a mined feature in the `paper` set.
SELECT
    e.feature,
    e.seq_id,
    e.pos,
    e.activation
FROM examples AS e
SEMI JOIN mined_features AS f ON e.feature = f.feature
WHERE e.layer = $layer AND e.head = $head AND e.example_set = 'paper' AND e.split = 'train'
ORDER BY e.feature, e.seq_id, e.pos;
