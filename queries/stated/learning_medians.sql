-- Grain: an input feature that is active in the sequences that rules are learnt from, with its median activation there.
-- Reads: input_activations, learning_sequences
SELECT
    i.feature,
    median(i.activation) AS activation
FROM input_activations AS i
SEMI JOIN learning_sequences AS s ON i.seq_id = s.seq_id
WHERE i.layer = $layer AND i.pos > 0
GROUP BY i.feature
ORDER BY i.feature;
