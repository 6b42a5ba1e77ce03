-- Grain: a mined feature and a sequence that rules are learnt from but not those of this feature: it holds a val or test
-- example of it.
-- Reads: examples, learning_sequences, mined_features
SELECT DISTINCT
    e.feature,
    s.number
FROM examples AS e
SEMI JOIN mined_features AS f ON e.feature = f.feature
INNER JOIN learning_sequences AS s ON e.seq_id = s.seq_id
WHERE e.layer = $layer AND e.head = $head AND e.split <> 'train'
ORDER BY e.feature, s.number;
