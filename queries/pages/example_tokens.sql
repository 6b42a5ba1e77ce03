-- Grain: a token of the text of an example of a feature, with what it contributes as a source: those from 28 tokens before it to
-- 8 after, and sources before these.
-- Reads: asked_examples, tokens, vocabulary
SELECT
    e.feature,
    e.seq_id,
    e.pos AS example_pos,
    t.pos,
    v.token,
    exact_sum(d.contribution_from_features) AS contribution,
    exact_sum(d.weight) AS attention
FROM asked_examples AS e
INNER JOIN tokens AS t ON e.seq_id = t.seq_id AND e.pos >= t.pos - 8
INNER JOIN vocabulary AS v ON t.token_id = v.token_id
LEFT JOIN asked_sources AS d
    ON e.feature = d.feature AND e.seq_id = d.seq_id AND e.pos = d.example_pos AND t.pos = d.key_pos
WHERE t.pos >= e.pos - 28 OR d.key_pos IS NOT NULL
GROUP BY e.feature, e.seq_id, e.pos, t.pos, v.token
ORDER BY e.feature, e.seq_id, e.pos, t.pos;
