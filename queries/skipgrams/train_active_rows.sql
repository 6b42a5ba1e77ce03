-- Grain: a position that rules of a mined feature are learnt from, of a range of sequences. Tokens are
-- numbered from the first of the range.
-- Reads: train_active
SELECT
    feature,
    ((seq_id - $first) * $seq_len + pos)::INTEGER AS token
FROM train_active
WHERE seq_id BETWEEN $first AND $last;
