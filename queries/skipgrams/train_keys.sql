-- Grain: an input feature active at a token of a train sequence, of a range of sequences; its activation over the layer
-- norm's scale, both as computed from the features. Tokens are numbered from the first of the range.
-- Reads: input_activations, sequence_splits, token_scales
SELECT
    ((i.seq_id - $first) * $seq_len + i.pos)::INTEGER AS token,
    i.feature,
    i.activation / s.ln_scale_from_features::DOUBLE AS activation
FROM input_activations AS i
INNER JOIN token_scales AS s ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
WHERE
    i.layer = $layer AND i.seq_id BETWEEN $first AND $last AND s.seq_id BETWEEN $first AND $last
    AND i.seq_id IN (SELECT q.seq_id FROM sequence_splits AS q WHERE q.split = 'train');
