-- The chunks cover the sequences from 0 without a gap or an overlap.
-- Reads: chunks
SELECT format('chunk {} starts at sequence {}, expected {}', chunk_id, first_seq, expected) AS problem
FROM (
    SELECT
        chunk_id,
        first_seq,
        coalesce(lag(first_seq + n_seqs) OVER (ORDER BY first_seq), 0) AS expected
    FROM chunks
) AS ranges
WHERE first_seq <> expected;
