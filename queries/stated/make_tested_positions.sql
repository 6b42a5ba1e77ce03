-- Grain: a position after BOS of a test sequence: where a rule that is asked about is judged.
-- Reads: tokens
-- Makes: judged
CREATE OR REPLACE TEMP TABLE judged AS
SELECT
    (row_number() OVER (ORDER BY t.seq_id, t.pos) - 1)::INTEGER AS place,
    0 AS scope,
    t.seq_id,
    t.pos,
    'test' AS split
FROM tokens AS t
WHERE
    t.pos > 0
    AND t.seq_id IN (
        SELECT s.seq_id
        FROM tokens AS s
        WHERE s.pos = 0 AND sequence_split($seed, s.seq_id) = 'test'
    );
