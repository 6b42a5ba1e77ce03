-- Grain: a token of one of $sequences, in order.
-- Reads: tokens
SELECT
    t.seq_id,
    t.token_id
FROM tokens AS t
WHERE t.seq_id IN (SELECT unnest($sequences::INTEGER[]))
ORDER BY t.seq_id, t.pos;
