-- Grain: a position at which a feature with rules to test is active: at most $n_positions of a feature, in a seeded draw.
-- Reads: output_activations, read_rules
-- Makes: judged
CREATE OR REPLACE TEMP TABLE judged AS
SELECT
    (row_number() OVER (ORDER BY a.feature, a.seq_id, a.pos) - 1)::INTEGER AS place,
    a.feature AS scope,
    a.seq_id,
    a.pos
FROM output_activations AS a
SEMI JOIN read_rules AS r ON a.feature = r.feature
WHERE a.layer = $layer AND a.head = $head AND a.pos > 0
QUALIFY
    row_number() OVER (
        PARTITION BY a.feature
        ORDER BY mix32(mix32(mix32($seed) + a.seq_id) + a.pos), a.seq_id, a.pos
    ) <= $n_positions;
