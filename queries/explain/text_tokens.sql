-- Grain: a token of the text, BOS left out.
-- Reads: read_tokens, vocabulary
SELECT
    t.pos,
    v.token
FROM read_tokens AS t
INNER JOIN vocabulary AS v ON t.token_id = v.token_id
WHERE t.pos > 0
ORDER BY t.pos;
