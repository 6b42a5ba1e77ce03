-- Positions that the input SAE reconstructs worst, in context: rules see there least of what the head sees.
-- Group: the warehouse
-- $layer = 0: layer
-- $limit = 20: number of positions
SELECT
    s.seq_id,
    s.pos,
    round(s.reconstruction_error, 3) AS reconstruction_error,
    c.before,
    c.token,
    c.after
FROM (
    SELECT
        seq_id,
        pos,
        reconstruction_error
    FROM token_scales
    WHERE layer = $layer AND pos > 0
    ORDER BY reconstruction_error DESC, seq_id ASC, pos ASC
    LIMIT $limit
) AS s
CROSS JOIN LATERAL (FROM context_at(s.seq_id, s.pos)) AS c
ORDER BY s.reconstruction_error DESC, s.seq_id ASC, s.pos ASC;
