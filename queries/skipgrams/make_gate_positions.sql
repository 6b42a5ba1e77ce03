-- Grain: a train position that the queries of rules are chosen from: at most $n_most where a mined feature is active, and
-- of all positions at most $n_everywhere, drawn by a hash, that serve every feature: their scope is -1.
-- Reads: mined_features, sequence_splits, tokens, train_active
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
        CROSS JOIN (SELECT mix32($seed) AS seed) AS h
        WHERE t.pos > 0 AND t.seq_id IN (SELECT s.seq_id FROM sequence_splits AS s WHERE s.split = 'train')
        ORDER BY mix32(h.seed + 65536 * t.seq_id::BIGINT + t.pos) ASC, t.seq_id ASC, t.pos ASC
        LIMIT $n_everywhere
    ) AS d
)

SELECT
    scope,
    seq_id,
    pos,
    row_number() OVER (ORDER BY scope, seq_id, pos) - 1 AS place
FROM sampled;
