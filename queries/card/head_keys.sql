-- Grain: a token that one head attends to, BOS position left out: its share of the attention that is stored.
-- Reads: attention_sources, tokens, vocabulary
SELECT
    t.token_id,
    coalesce(any_value(v.token), '#' || t.token_id) AS token,
    exact_sum(a.weight::DOUBLE) / sum(exact_sum(a.weight::DOUBLE)) OVER () AS share,
    count(*) AS n_sources
FROM attention_sources AS a
INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.key_pos = t.pos
LEFT JOIN vocabulary AS v ON t.token_id = v.token_id
WHERE a.layer = $layer AND a.head = $head AND a.query_pos >= 2 AND a.key_pos > 0
GROUP BY t.token_id
ORDER BY share DESC, t.token_id ASC
LIMIT 10;
