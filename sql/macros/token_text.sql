-- The text of a sequence, BOS included.
CREATE MACRO token_text(of_seq) AS (
    SELECT string_agg(vocabulary.token, '' ORDER BY tokens.pos)
    FROM tokens
    INNER JOIN vocabulary USING (token_id)
    WHERE tokens.seq_id = of_seq
);
COMMENT ON MACRO token_text IS 'Text of a sequence: token_text(seq_id)';
