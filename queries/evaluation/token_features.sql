-- Grain: an input feature active at a token that a judged position attends to.
-- Reads: attended, scaled_activations
SELECT
    65536 * i.seq_id::BIGINT + i.pos AS token,
    i.feature,
    i.activation
FROM scaled_activations AS i
SEMI JOIN attended AS a ON i.seq_id = a.seq_id AND i.pos = a.key_pos
ORDER BY token, i.feature;
