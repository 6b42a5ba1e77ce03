-- Grain: a token of the text up to one of its positions, with the attention that it gets from there, BOS being position 0.
-- Reads: read_tokens, text_attention, vocabulary
SELECT
    t.pos,
    CASE WHEN t.pos = 0 THEN 'BOS' ELSE v.token END AS token,
    coalesce(a.weight, 0) AS attention
FROM read_tokens AS t
LEFT JOIN vocabulary AS v ON t.token_id = v.token_id
LEFT JOIN text_attention AS a ON a.query_pos = $pos AND t.pos = a.key_pos
WHERE t.pos <= $pos
ORDER BY t.pos;
