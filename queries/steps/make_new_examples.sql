-- Grain: an example of the `paper` set (METHOD.md section 4): per feature the 3m sequences of largest maximal
-- activation, at the position of that maximum, and 3m sequences drawn among those where the feature is never active, at
-- a drawn position after BOS. Draws depend on (seed, layer, head, feature, sequence) alone.
CREATE OR REPLACE TEMP TABLE new_examples AS
WITH active AS (
    SELECT
        a.feature,
        a.seq_id,
        max(a.activation) AS activation,
        min(a.pos) FILTER (WHERE a.activation = m.largest) AS pos
    FROM output_activations AS a
    INNER JOIN (
        SELECT
            feature,
            seq_id,
            max(activation) AS largest
        FROM output_activations
        WHERE layer = $layer AND head = $head
        GROUP BY feature, seq_id
    ) AS m ON a.feature = m.feature AND a.seq_id = m.seq_id
    SEMI JOIN mined_features AS f ON a.feature = f.feature
    WHERE a.layer = $layer AND a.head = $head
    GROUP BY a.feature, a.seq_id
),

positives AS (
    SELECT
        feature,
        1 AS label,
        seq_id,
        pos,
        activation
    FROM active
    QUALIFY row_number() OVER (PARTITION BY feature ORDER BY activation DESC, seq_id ASC) <= $n_per_label
),

sequences AS (
    SELECT DISTINCT seq_id FROM tokens
    WHERE pos = 0
),

-- The draw and the sequence in one number, so that the smallest draws are found without sorting all of them.
drawn AS (
    SELECT
        f.feature,
        min((mix32(f.feature_seed + s.seq_id) << 32) | s.seq_id, $n_per_label) AS draws
    FROM mined_features AS f
    CROSS JOIN sequences AS s
    ANTI JOIN active AS a ON f.feature = a.feature AND s.seq_id = a.seq_id
    GROUP BY f.feature
),

negatives AS (
    SELECT
        d.feature,
        0 AS label,
        d.draw & 4294967295 AS seq_id,
        1 + mix32((d.draw >> 32) + 1) % ($seq_len - 1) AS pos,
        0 AS activation
    FROM (
        SELECT
            feature,
            unnest(draws) AS draw
        FROM drawn
    ) AS d
),

examples AS (
    FROM positives
    UNION ALL BY NAME
    FROM negatives
)

SELECT
    $layer::UTINYINT AS layer,
    $head::UTINYINT AS head,
    e.feature,
    'paper' AS example_set,
    CASE
    row_number() OVER (
        PARTITION BY e.feature, e.label
        ORDER BY mix32(f.feature_seed + 2654435769 + e.seq_id), e.seq_id
    ) % 3
        WHEN 1 THEN 'train'
        WHEN 2 THEN 'val'
        ELSE 'test'
    END AS split,
    e.label::UTINYINT AS label,
    e.seq_id::UINTEGER AS seq_id,
    e.pos::USMALLINT AS pos,
    e.activation::FLOAT AS activation
FROM examples AS e
INNER JOIN mined_features AS f ON e.feature = f.feature;
