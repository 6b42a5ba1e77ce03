-- Grain: a position that the queries of rules are chosen from and a token that it attends to, with the attention computed
-- from the features.
-- Reads: attention_sources, gate_positions
SELECT
    p.place,
    65536 * a.seq_id::BIGINT + a.key_pos AS token,
    a.weight_from_features
FROM gate_positions AS p
INNER JOIN attention_sources AS a ON p.seq_id = a.seq_id AND p.pos = a.query_pos
WHERE a.layer = $layer AND a.head = $head
ORDER BY p.place, token;
