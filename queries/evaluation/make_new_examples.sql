-- Grain: an example of a set (method.md section 4.4). Positives are sequences at the position of their largest activation:
-- the 3m strongest (`paper`), 3m drawn at random (`uniform`), or m drawn from each of ten equal-width bins of that
-- activation (`bins`). Negatives are as many sequences, drawn among those where the feature is never active, at a drawn
-- position after BOS. Draws depend on (seed, layer, head, feature, sequence) alone.
-- Reads: feature_sequences, mined_features, tokens
-- Makes: new_examples
CREATE OR REPLACE TEMP TABLE new_examples AS
WITH candidates AS (
    SELECT
        s.feature,
        s.seq_id,
        s.pos,
        s.activation,
        CASE
            WHEN $example_set = 'bins'
                THEN least(9, floor(10 * s.activation / max(s.activation) OVER (PARTITION BY s.feature)))
            ELSE 0
        END AS bin,
        CASE
            WHEN $example_set = 'paper' THEN -s.activation
            ELSE mix32(f.feature_seed + $uniform_salt + s.seq_id)
        END AS place
    FROM feature_sequences AS s
    INNER JOIN mined_features AS f ON s.feature = f.feature
),

positives AS (
    SELECT
        feature,
        1 AS label,
        seq_id,
        pos,
        activation
    FROM candidates
    QUALIFY
        row_number() OVER (PARTITION BY feature, bin ORDER BY place ASC, seq_id ASC)
        <= CASE WHEN $example_set = 'bins' THEN $n_per_label // 3 ELSE $n_per_label END
),

n_positives AS (
    SELECT
        feature,
        count(*) AS n
    FROM positives
    GROUP BY feature
),

sequences AS (
    SELECT DISTINCT seq_id FROM tokens
    WHERE pos = 0
),

-- The draw and the sequence in one number, so that the smallest draws are found without sorting all of them. Ten bins of
-- m are the most positives there can be.
drawn AS (
    SELECT
        f.feature,
        min(
            (mix32(f.feature_seed + s.seq_id)::UBIGINT << 32) | s.seq_id::UBIGINT,
            CASE WHEN $example_set = 'bins' THEN 10 * ($n_per_label // 3) ELSE $n_per_label END
        ) AS draws
    FROM mined_features AS f
    CROSS JOIN sequences AS s
    ANTI JOIN feature_sequences AS a ON f.feature = a.feature AND s.seq_id = a.seq_id
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
            drawn.feature,
            unnest(list_slice(drawn.draws, 1, n_positives.n)) AS draw
        FROM drawn
        INNER JOIN n_positives ON drawn.feature = n_positives.feature
    ) AS d
),

examples AS (
    FROM positives
    UNION ALL BY NAME
    FROM negatives
)

SELECT
    $layer::SMALLINT AS layer,
    $head::SMALLINT AS head,
    e.feature,
    $example_set AS example_set,
    CASE
    row_number() OVER (
        PARTITION BY e.feature, e.label
        ORDER BY mix32(f.feature_seed + $split_salt + e.seq_id), e.seq_id
    ) % 3
        WHEN 1 THEN 'train'
        WHEN 2 THEN 'val'
        ELSE 'test'
    END AS split,
    e.label::SMALLINT AS label,
    e.seq_id::INTEGER AS seq_id,
    e.pos::INTEGER AS pos,
    e.activation::FLOAT AS activation
FROM examples AS e
INNER JOIN mined_features AS f ON e.feature = f.feature;
