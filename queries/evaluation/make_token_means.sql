-- Grain: a mined feature and the last n_tokens tokens of positions where it is active in train sequences, as one number: its
-- mean activation where they stand in such sequences. Those with a val or test example of the feature are left out.
-- Reads: examples, mined_features, sequence_splits, tokens, train_active
-- Makes: token_means
CREATE OR REPLACE TEMP TABLE token_means AS
WITH pairs AS (
    SELECT
        t.seq_id,
        t.pos,
        t.token_id,
        p.token_id AS token_before
    FROM tokens AS t
    INNER JOIN tokens AS p ON t.seq_id = p.seq_id AND t.pos = p.pos + 1
    WHERE t.seq_id IN (SELECT s.seq_id FROM sequence_splits AS s WHERE s.split = 'train')
),

grams AS (
    SELECT
        seq_id,
        pos,
        1 AS n_tokens,
        token_id::BIGINT AS gram
    FROM pairs
    UNION ALL
    SELECT
        seq_id,
        pos,
        2 AS n_tokens,
        token_before::BIGINT << 32 | token_id AS gram
    FROM pairs
),

sums AS (
    SELECT
        a.feature,
        g.n_tokens,
        g.gram,
        exact_sum(a.activation::DOUBLE) AS activation
    FROM train_active AS a
    SEMI JOIN mined_features AS f ON a.feature = f.feature
    INNER JOIN grams AS g ON a.seq_id = g.seq_id AND a.pos = g.pos
    GROUP BY a.feature, g.n_tokens, g.gram
),

occurrences AS (
    SELECT
        n_tokens,
        gram,
        count(*) AS n
    FROM grams
    GROUP BY n_tokens, gram
),

held_out AS (
    SELECT
        e.feature,
        g.n_tokens,
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
    GROUP BY e.feature, g.n_tokens, g.gram
)

SELECT
    s.feature,
    s.n_tokens,
    s.gram,
    s.activation / (o.n - coalesce(h.n, 0)) AS activation
FROM sums AS s
INNER JOIN occurrences AS o ON s.n_tokens = o.n_tokens AND s.gram = o.gram
LEFT JOIN held_out AS h ON s.feature = h.feature AND s.n_tokens = h.n_tokens AND s.gram = h.gram;
