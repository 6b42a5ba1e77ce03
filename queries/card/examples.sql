-- Grain: a sequence, among the five of largest activation, with up to 16 tokens before the position.
-- Reads: output_activations, tokens, vocabulary
WITH strongest AS (
    SELECT
        seq_id,
        arg_max(pos, (activation, -pos)) AS pos,
        max(activation) AS activation
    FROM output_activations
    WHERE layer = $layer AND head = $head AND feature = $feature
    GROUP BY seq_id
    ORDER BY activation DESC, seq_id ASC
    LIMIT 5
)

SELECT
    s.seq_id,
    s.pos,
    s.activation,
    coalesce(
        joined_text(
            CASE WHEN t.pos < s.pos THEN v.token END, CASE WHEN t.pos < s.pos THEN v.token_bytes END, t.pos
        ),
        ''
    ) AS before,
    max(v.token) FILTER (WHERE t.pos = s.pos) AS token
FROM strongest AS s
INNER JOIN tokens AS t ON s.seq_id = t.seq_id AND s.pos >= t.pos AND s.pos <= t.pos + 16
INNER JOIN vocabulary AS v ON t.token_id = v.token_id
GROUP BY s.seq_id, s.pos, s.activation
ORDER BY s.activation DESC, s.seq_id ASC;
