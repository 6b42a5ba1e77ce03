-- Grain: a position that pairs of a mined feature are learnt from, of a range of sequences.
-- Reads: train_active
SELECT
    feature,
    seq_id,
    pos
FROM train_active
WHERE draw <= $n_most AND seq_id BETWEEN $begin AND $last;
