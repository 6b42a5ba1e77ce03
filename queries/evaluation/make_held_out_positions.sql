-- Grain: a position of a sequence that rules are judged on everywhere: the first sequences, in a seeded order, of the
-- train and of the test part of the corpus, at every position after BOS.
-- Reads: sequence_splits, tokens
-- Makes: held_out_positions
CREATE OR REPLACE TEMP TABLE held_out_positions AS
SELECT
    t.seq_id,
    t.pos,
    s.split::VARCHAR AS split
FROM (
    SELECT
        q.seq_id,
        q.split
    FROM sequence_splits AS q
    CROSS JOIN (SELECT mix32($seed) AS seed) AS h
    QUALIFY row_number() OVER (PARTITION BY q.split ORDER BY mix32(h.seed + q.seq_id), q.seq_id) <= $n_sequences
) AS s
INNER JOIN tokens AS t ON s.seq_id = t.seq_id
WHERE t.pos > 0;
