-- Grain: a token of a sequence that rules are learnt from, in order.
-- Reads: learning_sequences, tokens
SELECT t.token_id
FROM learning_sequences AS s
INNER JOIN tokens AS t ON s.seq_id = t.seq_id
ORDER BY s.number, t.pos;
