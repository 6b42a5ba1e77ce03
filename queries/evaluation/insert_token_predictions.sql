-- Grain: a judged position and a mined feature that was active on the same token, or the same two tokens, in a train
-- sequence: its mean activation on these.
-- Reads: judged, token_means, tokens
-- Writes: predictions
INSERT INTO predictions BY NAME
WITH grams AS (
    SELECT
        j.scope,
        j.place,
        CASE WHEN $n_tokens = 2 THEN p.token_id::BIGINT << 32 ELSE 0 END | t.token_id AS gram
    FROM judged AS j
    INNER JOIN tokens AS t ON j.seq_id = t.seq_id AND j.pos = t.pos
    INNER JOIN tokens AS p ON j.seq_id = p.seq_id AND j.pos = p.pos + 1
),

-- The scope is a column here: in the condition of the join it was no key of the hash table, and took 8 times as long.
means AS (
    SELECT
        CASE WHEN $example_set = 'all_positions' THEN 0 ELSE feature END AS scope,
        feature,
        gram,
        activation
    FROM token_means
    WHERE n_tokens = $n_tokens
)

SELECT
    $way AS way,
    m.feature,
    0 AS n_rules,
    g.place,
    m.activation AS prediction
FROM grams AS g
INNER JOIN means AS m ON g.scope = m.scope AND g.gram = m.gram;
