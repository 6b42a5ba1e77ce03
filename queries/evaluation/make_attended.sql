-- Grain: a judged position and a token that it attends to, with the attention computed from the features and with the
-- model's own.
-- Reads: attention_sources, judged
-- Makes: attended
CREATE OR REPLACE TEMP TABLE attended AS
SELECT
    j.scope,
    j.place,
    j.seq_id,
    a.key_pos,
    a.weight_from_features,
    a.weight
FROM judged AS j
INNER JOIN attention_sources AS a ON j.seq_id = a.seq_id AND j.pos = a.query_pos
WHERE a.layer = $layer AND a.head = $head;
