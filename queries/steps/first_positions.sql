-- Grain: a candidate key and a sequence, of a range of sequences, with the first position where it can match.
SELECT
    feature AS key_feature,
    seq_id,
    min(pos) AS pos
FROM input_activations
WHERE
    layer = $layer AND seq_id BETWEEN $begin AND $last AND (pos > 0 OR $bos_keys)
    AND feature IN (SELECT p.key_feature FROM candidate_pairs AS p)
GROUP BY feature, seq_id;
