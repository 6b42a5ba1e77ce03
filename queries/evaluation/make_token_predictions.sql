-- Grain: a judged position and a mined feature that was active on the same token, or the same two tokens, in a train
-- sequence: its mean activation on these. Sequences with a val or test example of the feature are left out of the mean.
-- Reads: examples, judged, mined_features, tokens, train_active
-- Makes: predictions
CREATE OR REPLACE TEMP TABLE predictions AS
WITH grams AS (
    SELECT
        t.seq_id,
        t.pos,
        CASE WHEN $n_tokens = 2 THEN p.token_id::BIGINT << 32 ELSE 0 END | t.token_id AS gram,
        sequence_split($seed, t.seq_id) = 'train' AS is_train
    FROM tokens AS t
    INNER JOIN tokens AS p ON t.seq_id = p.seq_id AND t.pos = p.pos + 1
),

sums AS (
    SELECT
        a.feature,
        g.gram,
        exact_sum(a.activation::DOUBLE) AS activation
    FROM train_active AS a
    SEMI JOIN mined_features AS f ON a.feature = f.feature
    INNER JOIN grams AS g ON a.seq_id = g.seq_id AND a.pos = g.pos
    GROUP BY a.feature, g.gram
),

occurrences AS (
    SELECT
        gram,
        count(*) AS n
    FROM grams
    WHERE is_train
    GROUP BY gram
),

held_out AS (
    SELECT
        e.feature,
        g.gram,
        count(*) AS n
    FROM (
        SELECT DISTINCT
            x.feature,
            x.seq_id
        FROM examples AS x
        SEMI JOIN mined_features AS f ON x.feature = f.feature
        WHERE x.layer = $layer AND x.head = $head AND x.split <> 'train'
    ) AS e
    INNER JOIN grams AS g ON e.seq_id = g.seq_id
    WHERE g.is_train
    GROUP BY e.feature, g.gram
),

means AS (
    SELECT
        CASE WHEN $example_set = 'all_positions' THEN 0 ELSE s.feature END AS scope,
        s.feature,
        s.gram,
        s.activation / (o.n - coalesce(h.n, 0)) AS activation
    FROM sums AS s
    INNER JOIN occurrences AS o ON s.gram = o.gram
    LEFT JOIN held_out AS h ON s.feature = h.feature AND s.gram = h.gram
)

SELECT
    m.feature,
    0::INTEGER AS n_rules,
    j.place,
    m.activation AS prediction
FROM judged AS j
INNER JOIN grams AS g ON j.seq_id = g.seq_id AND j.pos = g.pos
INNER JOIN means AS m ON j.scope = m.scope AND g.gram = m.gram;
