-- Grain: a candidate query active at a position after BOS, of a range of sequences. `kind` is 0 in train sequences and 1 in
-- others.
SELECT
    feature AS query_feature,
    seq_id,
    pos,
    (sequence_split($seed, seq_id) <> 'train')::UTINYINT AS kind
FROM input_activations
WHERE
    layer = $layer AND seq_id BETWEEN $begin AND $last AND pos > 0
    AND feature IN (SELECT p.query_feature FROM candidate_pairs AS p);
