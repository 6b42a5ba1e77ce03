-- Grain: a judged position and a mined feature that was active on the same token, or the same two tokens, in a train
-- sequence: its mean activation on these.
-- Reads: judged, token_means, tokens
-- Writes: predictions
INSERT INTO predictions BY NAME
SELECT
    $way AS way,
    m.feature,
    0 AS n_rules,
    j.place,
    m.activation AS prediction
FROM judged AS j
INNER JOIN tokens AS t ON j.seq_id = t.seq_id AND j.pos = t.pos
INNER JOIN tokens AS p ON j.seq_id = p.seq_id AND j.pos = p.pos + 1
INNER JOIN token_means AS m
    ON
        j.scope = CASE WHEN $example_set = 'all_positions' THEN 0 ELSE m.feature END
        AND m.n_tokens = $n_tokens
        AND m.gram = CASE WHEN $n_tokens = 2 THEN p.token_id::BIGINT << 32 ELSE 0 END | t.token_id;
