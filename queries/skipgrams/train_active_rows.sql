-- Grain: a position that rules of a mined feature are learnt from, of a range of sequences.
-- Reads: train_active
SELECT
    feature,
    seq_id,
    pos
FROM train_active
WHERE seq_id BETWEEN $first AND $last;
