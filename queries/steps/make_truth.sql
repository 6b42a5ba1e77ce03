-- Grain: a position and a mined feature: every example of a set, or where the feature is active among all positions.
-- `activation_rank` is the average rank of the activation within its split.
CREATE OR REPLACE TEMP TABLE truth AS
WITH known AS (
    SELECT
        e.feature,
        e.seq_id,
        e.pos,
        e.split,
        e.activation::DOUBLE AS activation
    FROM examples AS e
    SEMI JOIN mined_features AS f ON e.feature = f.feature
    WHERE e.layer = $layer AND e.head = $head AND e.example_set = $example_set
    UNION ALL
    SELECT
        a.feature,
        a.seq_id,
        a.pos,
        h.split,
        a.activation::DOUBLE AS activation
    FROM output_activations AS a
    SEMI JOIN mined_features AS f ON a.feature = f.feature
    INNER JOIN held_out_positions AS h ON a.seq_id = h.seq_id AND a.pos = h.pos
    WHERE a.layer = $layer AND a.head = $head AND $example_set = 'all_positions'
),

sizes AS (
    SELECT
        split,
        count(*) AS n_positions
    FROM held_out_positions
    GROUP BY split
)

SELECT
    k.*,
    CASE WHEN $example_set = 'all_positions' THEN z.n_positions ELSE count(*) OVER of_split END AS n_examples,
    sum((k.activation > 0)::INTEGER) OVER of_split AS n_active,
    rank() OVER downwards + (count(*) OVER by_activation - 1) / 2.0 AS rank_from_above
FROM known AS k
LEFT JOIN sizes AS z ON k.split = z.split
WINDOW
    of_split AS (PARTITION BY k.feature, k.split),
    downwards AS (PARTITION BY k.feature, k.split ORDER BY k.activation DESC),
    by_activation AS (PARTITION BY k.feature, k.split, k.activation);
