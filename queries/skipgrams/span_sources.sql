-- Grain: a source that the model attends to from a position after BOS, of a range of sequences.
-- Reads: attention_sources
SELECT
    seq_id,
    query_pos,
    key_pos,
    weight
FROM attention_sources
WHERE
    layer = $layer AND head = $head AND seq_id BETWEEN $begin AND $last
    AND query_pos > 0 AND (key_pos > 0 OR $bos_keys);
