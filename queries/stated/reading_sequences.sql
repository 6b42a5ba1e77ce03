-- Grain: a judged sequence, with its split and its positions.
-- Reads: judged
SELECT
    seq_id,
    (split = 'test')::INTEGER AS is_test,
    count(*) AS n_positions
FROM judged
GROUP BY seq_id, split
ORDER BY seq_id;
