-- Grain: an input feature active at a token, BOS too, of a sequence that rules are learnt from.
-- Reads: input_activations, learning_sequences
SELECT
    s.number * $seq_len + i.pos AS token,
    i.feature,
    i.activation
FROM input_activations AS i
INNER JOIN learning_sequences AS s ON i.seq_id = s.seq_id
WHERE i.layer = $layer
ORDER BY token, i.feature;
