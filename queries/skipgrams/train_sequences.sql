-- Grain: a sequence of the train part, of a range of sequences.
-- Reads: sequence_splits
SELECT seq_id
FROM sequence_splits
WHERE split = 'train' AND seq_id BETWEEN $begin AND $last
ORDER BY seq_id;
