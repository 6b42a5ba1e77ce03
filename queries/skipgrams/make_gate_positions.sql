-- Grain: a train position that the queries of rules are chosen from: at most $n_most where a mined feature is active, and
-- those that stand for all and serve every feature: their scope is -1.
-- Reads: base_positions, mined_features, train_active
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
    FROM base_positions AS d
)

SELECT
    scope,
    seq_id,
    pos,
    row_number() OVER (ORDER BY scope, seq_id, pos) - 1 AS place
FROM sampled;
