-- Grain: a train sequence that stated rules are learnt from, numbered by `number`: the first n_most in a seeded order.
-- Reads: sequence_splits
-- Makes: learning_sequences
CREATE OR REPLACE TEMP TABLE learning_sequences AS
SELECT
    (row_number() OVER (ORDER BY drawn.seq_id) - 1)::INTEGER AS number,
    drawn.seq_id
FROM (
    SELECT q.seq_id
    FROM sequence_splits AS q
    CROSS JOIN (SELECT mix32($seed) AS seed) AS h
    WHERE q.split = 'train'
    QUALIFY row_number() OVER (ORDER BY mix32(h.seed + q.seq_id), q.seq_id) <= $n_most
) AS drawn;
