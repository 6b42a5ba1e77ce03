-- Grain: the corpus.
-- Reads: corpus, tokens
SELECT
    c.seq_len,
    (SELECT max(t.seq_id) + 1 FROM tokens AS t WHERE t.pos = 0) AS n_sequences
FROM corpus AS c;
