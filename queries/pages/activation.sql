-- Grain: an activation of a feature at a position, none where it is silent.
-- Reads: output_activations
SELECT activation
FROM output_activations
WHERE layer = $layer AND head = $head AND feature = $feature AND seq_id = $seq_id AND pos = $pos;
