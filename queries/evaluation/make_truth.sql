-- Grain: a position and a mined feature: every example of a set, or where the feature is active among all positions.
-- `activation_rank` is the average rank of the activation within its split.
-- Reads: examples, judged, mined_features, output_activations
-- Makes: truth
CREATE OR REPLACE TEMP TABLE truth AS
WITH known AS (
    SELECT
        e.feature,
        j.place,
        e.split,
        e.activation::DOUBLE AS activation
    FROM examples AS e
    INNER JOIN judged AS j ON e.feature = j.scope AND e.seq_id = j.seq_id AND e.pos = j.pos
    WHERE e.layer = $layer AND e.head = $head AND e.example_set = $example_set
    UNION ALL
    SELECT
        a.feature,
        j.place,
        j.split,
        a.activation::DOUBLE AS activation
    FROM output_activations AS a
    SEMI JOIN mined_features AS f ON a.feature = f.feature
    INNER JOIN judged AS j ON a.seq_id = j.seq_id AND a.pos = j.pos
    WHERE a.layer = $layer AND a.head = $head AND $example_set = 'all_positions'
),

sizes AS (
    SELECT
        split,
        count(*) AS n_positions
    FROM judged
    GROUP BY split
)

SELECT
    k.*,
    CASE WHEN $example_set = 'all_positions' THEN z.n_positions ELSE count(*) OVER of_split END AS n_examples,
    (sum((k.activation > 0)::INTEGER) OVER of_split)::BIGINT AS n_active,
    rank() OVER downwards + (count(*) OVER by_activation - 1) / 2.0 AS rank_from_above
FROM known AS k
LEFT JOIN sizes AS z ON k.split = z.split
WINDOW
    of_split AS (PARTITION BY k.feature, k.split),
    downwards AS (PARTITION BY k.feature, k.split ORDER BY k.activation DESC),
    by_activation AS (PARTITION BY k.feature, k.split, k.activation);
