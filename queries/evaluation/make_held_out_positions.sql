-- Grain: a position of a sequence that rules are judged on everywhere: the first sequences, in a seeded order, of the
-- train and of the test part of the corpus, at every position after BOS.
-- Reads: tokens
-- Makes: held_out_positions
CREATE OR REPLACE TEMP TABLE held_out_positions AS
SELECT
    t.seq_id,
    t.pos,
    s.split
FROM (
    SELECT
        seq_id,
        sequence_split($seed, seq_id) AS split
    FROM tokens
    WHERE pos = 0
    QUALIFY
        row_number() OVER (PARTITION BY sequence_split($seed, seq_id) ORDER BY mix32(mix32($seed) + seq_id), seq_id)
        <= $n_sequences
) AS s
INNER JOIN tokens AS t ON s.seq_id = t.seq_id
WHERE t.pos > 0;
