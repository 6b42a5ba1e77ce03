-- Grain: a train position at which a mined feature is active, in a sequence that rules are learnt from.
-- Reads: learning_sequences, train_active
SELECT
    a.feature,
    s.number * $seq_len + a.pos AS token
FROM train_active AS a
INNER JOIN learning_sequences AS s ON a.seq_id = s.seq_id
ORDER BY a.feature, token;
