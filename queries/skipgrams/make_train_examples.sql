-- Grain: an example that `importance` learns from, numbered from 0: a train example of the set `paper` of a mined feature,
-- in a train sequence that holds no val or test example of the feature in any set.
-- Reads: examples, mined_features, sequence_splits
-- Makes: train_examples
CREATE OR REPLACE TEMP TABLE train_examples AS
WITH held_out AS (
    SELECT DISTINCT
        e.feature,
        e.seq_id
    FROM examples AS e
    SEMI JOIN mined_features AS f ON e.feature = f.feature
    WHERE e.layer = $layer AND e.head = $head AND e.split <> 'train'
)

SELECT
    row_number() OVER (ORDER BY e.feature, e.seq_id, e.pos) - 1 AS example,
    e.feature,
    e.seq_id,
    e.pos
FROM examples AS e
SEMI JOIN mined_features AS f ON e.feature = f.feature
ANTI JOIN held_out AS h ON e.feature = h.feature AND e.seq_id = h.seq_id
WHERE
    e.layer = $layer AND e.head = $head AND e.example_set = 'paper' AND e.split = 'train'
    AND e.seq_id IN (SELECT s.seq_id FROM sequence_splits AS s WHERE s.split = 'train');
