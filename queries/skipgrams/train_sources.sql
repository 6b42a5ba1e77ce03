-- Grain: a source that a train position after BOS attends to, of a range of sequences, with the attention computed from the
-- features. Tokens are numbered from the first of the range.
-- Reads: attention_sources, sequence_splits
SELECT
    ((seq_id - $first) * $seq_len + query_pos)::INTEGER AS query,
    ((seq_id - $first) * $seq_len + key_pos)::INTEGER AS key,
    weight_from_features AS weight
FROM attention_sources
WHERE
    layer = $layer AND head = $head AND seq_id BETWEEN $first AND $last
    AND query_pos > 0 AND (key_pos > 0 OR $bos_keys)
    AND seq_id IN (SELECT s.seq_id FROM sequence_splits AS s WHERE s.split = 'train');
