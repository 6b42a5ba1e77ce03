-- Grain: a train position of at most $n_most, drawn by a hash, that stand for all train positions.
-- Reads: sequence_splits, tokens
-- Makes: base_positions
CREATE OR REPLACE TEMP TABLE base_positions AS
SELECT
    t.seq_id,
    t.pos
FROM tokens AS t
CROSS JOIN (SELECT mix32($seed) AS seed) AS h
WHERE t.pos > 0 AND t.seq_id IN (SELECT s.seq_id FROM sequence_splits AS s WHERE s.split = 'train')
ORDER BY mix32(h.seed + 65536 * t.seq_id::BIGINT + t.pos) ASC, t.seq_id ASC, t.pos ASC
LIMIT $n_most;
