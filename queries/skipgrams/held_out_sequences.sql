-- Grain: a mined feature and a train sequence that holds a val or test example of it, of a range of sequences.
-- Reads: examples, mined_features, sequence_splits
SELECT DISTINCT
    e.feature,
    e.seq_id
FROM examples AS e
SEMI JOIN mined_features AS f ON e.feature = f.feature
WHERE
    e.layer = $layer AND e.head = $head AND e.split <> 'train' AND e.seq_id BETWEEN $begin AND $last
    AND e.seq_id IN (SELECT s.seq_id FROM sequence_splits AS s WHERE s.split = 'train');
