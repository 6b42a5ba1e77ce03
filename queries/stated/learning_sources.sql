-- Grain: a source that a position after BOS attends to, in a sequence that rules are learnt from.
-- Reads: attention_sources, learning_sequences, token_scales
SELECT
    s.number * $seq_len + a.query_pos AS query,
    s.number * $seq_len + a.key_pos AS key,
    a.weight,
    a.weight / z.ln_scale AS scaled
FROM attention_sources AS a
INNER JOIN learning_sequences AS s ON a.seq_id = s.seq_id
INNER JOIN token_scales AS z ON a.layer = z.layer AND a.seq_id = z.seq_id AND a.key_pos = z.pos
WHERE a.layer = $layer AND a.head = $head AND a.query_pos > 0
ORDER BY query, key;
