-- Grain: a position after BOS of one of the first $n_sequences sequences in a seeded order: where rules are sought, and
-- neutral contexts.
-- Reads: tokens
-- Makes: judged
CREATE OR REPLACE TEMP TABLE judged AS
SELECT
    (row_number() OVER (ORDER BY t.seq_id, t.pos) - 1)::INTEGER AS place,
    0 AS scope,
    t.seq_id,
    t.pos
FROM tokens AS t
INNER JOIN (
    SELECT b.seq_id
    FROM tokens AS b
    WHERE b.pos = 0
    QUALIFY row_number() OVER (ORDER BY mix32(mix32($seed) + b.seq_id), b.seq_id) <= $n_sequences
) AS drawn ON t.seq_id = drawn.seq_id
WHERE t.pos > 0;
