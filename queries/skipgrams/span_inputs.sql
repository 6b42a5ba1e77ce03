-- Grain: an input feature active at a token, of a range of sequences.
-- Reads: input_activations
SELECT
    seq_id,
    pos,
    feature,
    activation
FROM input_activations
WHERE layer = $layer AND seq_id BETWEEN $begin AND $last;
