-- Grain: a position with the text around it: up to 16 tokens before, the token, up to 8 after.
CREATE MACRO context_at(of_seq, of_pos) AS TABLE
WITH given (seq_id, pos) AS (SELECT of_seq, of_pos)

SELECT
    coalesce(
        main.joined_text(
            CASE WHEN t.pos < g.pos THEN v.token END, CASE WHEN t.pos < g.pos THEN v.token_bytes END, t.pos
        ),
        ''
    ) AS before,
    max(v.token) FILTER (WHERE t.pos = g.pos) AS token,
    coalesce(
        main.joined_text(
            CASE WHEN t.pos > g.pos THEN v.token END, CASE WHEN t.pos > g.pos THEN v.token_bytes END, t.pos
        ),
        ''
    ) AS after
FROM given AS g
INNER JOIN main.tokens AS t ON g.seq_id = t.seq_id AND g.pos <= t.pos + 16 AND g.pos >= t.pos - 8
INNER JOIN main.vocabulary AS v ON t.token_id = v.token_id
GROUP BY g.seq_id, g.pos
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.pos::VARCHAR AS token
FROM given AS g
WHERE NOT main.answers_here('$warehouse');
COMMENT ON MACRO TABLE context_at IS 'The text around a position, 16 tokens before it and 8 after: FROM context_at(seq_id, pos)';
