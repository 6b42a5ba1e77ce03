-- The tokens that the heads of a feature attend to where it is active, beside anywhere.
-- Group: one feature
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $limit = 12: number of tokens, those that get most beyond anywhere
-- Means over at most 1,000 drawn active positions and over 8,192 of all, BOS as a source left out: the positions of
-- feature_profile; of an SAE over a whole layer the attention of all heads is added up. output_feature_sources says what
-- attention carries from the tokens.
WITH active AS (
    SELECT
        seq_id,
        pos
    FROM output_activations
    WHERE layer = $layer AND head = $head AND feature = $feature AND pos > 0
    ORDER BY mix32(mix32(seq_id) + pos), seq_id, pos
    LIMIT 1000
),

everywhere AS (
    SELECT
        seq_id,
        pos
    FROM tokens
    WHERE pos > 0
    ORDER BY mix32(mix32(seq_id) + pos), seq_id, pos
    LIMIT 8192
),

drawn AS (
    SELECT
        seq_id,
        pos,
        1 / count(*) OVER () AS factor,
        0 AS factor_everywhere
    FROM active
    UNION ALL
    SELECT
        seq_id,
        pos,
        0 AS factor,
        1 / count(*) OVER () AS factor_everywhere
    FROM everywhere
),

by_token AS (
    SELECT
        t.token_id,
        exact_sum(a.weight * d.factor) AS attention,
        exact_sum(a.weight * d.factor_everywhere) AS attention_everywhere
    FROM drawn AS d
    INNER JOIN attention_sources AS a ON d.seq_id = a.seq_id AND d.pos = a.query_pos
    INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.key_pos = t.pos
    WHERE a.layer = $layer AND (a.head = $head OR $head = -1) AND a.key_pos > 0
    GROUP BY t.token_id
)

SELECT
    b.token_id,
    v.token,
    b.attention,
    b.attention_everywhere
FROM by_token AS b
INNER JOIN vocabulary AS v ON b.token_id = v.token_id
WHERE b.attention > b.attention_everywhere
ORDER BY b.attention - b.attention_everywhere DESC, b.token_id ASC
LIMIT $limit;
