-- Grain: a position of the corpus that rules of a mined feature are learnt from because it is active there: in a train
-- sequence that holds no val or test example of the feature. `draw` numbers them in a seeded order.
-- Reads: examples, mined_features, output_activations, sequence_splits
-- Makes: train_active
CREATE OR REPLACE TEMP TABLE train_active AS
WITH held_out AS (
    SELECT DISTINCT
        e.feature,
        e.seq_id
    FROM examples AS e
    SEMI JOIN mined_features AS f ON e.feature = f.feature
    WHERE e.layer = $layer AND e.head = $head AND e.split <> 'train'
)

SELECT
    a.feature,
    a.seq_id,
    a.pos,
    a.activation,
    row_number() OVER (
        PARTITION BY a.feature ORDER BY mix32(f.feature_seed + 65536 * a.seq_id::BIGINT + a.pos), a.seq_id, a.pos
    ) AS draw
FROM output_activations AS a
INNER JOIN mined_features AS f ON a.feature = f.feature
ANTI JOIN held_out AS h ON a.feature = h.feature AND a.seq_id = h.seq_id
WHERE
    a.layer = $layer AND a.head = $head AND a.pos > 0
    AND a.seq_id IN (SELECT s.seq_id FROM sequence_splits AS s WHERE s.split = 'train');
