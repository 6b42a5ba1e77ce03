-- Grain: a position after BOS where a mined feature is active, of a range of sequences.
-- Reads: mined_features, output_activations
SELECT
    a.feature,
    a.seq_id,
    a.pos
FROM output_activations AS a
SEMI JOIN mined_features AS f ON a.feature = f.feature
WHERE a.layer = $layer AND a.head = $head AND a.pos > 0 AND a.seq_id BETWEEN $begin AND $last;
