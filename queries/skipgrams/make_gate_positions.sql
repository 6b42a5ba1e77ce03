-- Grain: a train position that the queries of rules are chosen from: at most $n_most where a mined feature is active, and
-- of all positions at most $n_everywhere, drawn by a hash, that serve every feature: their scope is -1.
-- Reads: mined_features, tokens, train_active
-- Makes: gate_positions
CREATE OR REPLACE TEMP TABLE gate_positions AS
WITH sampled AS (
    SELECT
        t.feature::BIGINT AS scope,
        t.seq_id,
        t.pos
    FROM train_active AS t
    SEMI JOIN mined_features AS f ON t.feature = f.feature
    WHERE t.draw <= $n_most
    UNION ALL
    SELECT
        -1 AS scope,
        d.seq_id,
        d.pos
    FROM (
        SELECT
            t.seq_id,
            t.pos
        FROM tokens AS t
        WHERE t.pos > 0 AND sequence_split($seed, t.seq_id) = 'train'
        QUALIFY
            row_number() OVER (ORDER BY mix32(mix32($seed) + 65536 * t.seq_id::BIGINT + t.pos), t.seq_id, t.pos)
            <= $n_everywhere
    ) AS d
)

SELECT
    scope,
    seq_id,
    pos,
    row_number() OVER (ORDER BY scope, seq_id, pos) - 1 AS place
FROM sampled;
