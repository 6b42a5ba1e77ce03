-- Grain: a judged position and a token that it attends to, with the attention computed from the features and with the
-- model's own.
-- Reads: attention_sources, judged
SELECT
    j.place,
    65536 * a.seq_id::BIGINT + a.key_pos AS token,
    a.weight_from_features,
    a.weight AS weight_by_model
FROM judged AS j
INNER JOIN attention_sources AS a ON j.seq_id = a.seq_id AND j.pos = a.query_pos
WHERE a.layer = $layer AND a.head = $head
ORDER BY j.place, token;
