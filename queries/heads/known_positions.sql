-- Grain: the last sequence that is stored, and the last position of any (one row, of NULL where there is none).
-- Reads: tokens
SELECT
    max(seq_id) AS last_seq_id,
    max(pos) AS last_pos
FROM tokens;
