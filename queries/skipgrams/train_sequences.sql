-- Grain: a sequence of the train part, of a range of sequences.
-- Reads: tokens
SELECT seq_id
FROM tokens
WHERE pos = 0 AND seq_id BETWEEN $begin AND $last AND sequence_split($seed, seq_id) = 'train'
ORDER BY seq_id;
