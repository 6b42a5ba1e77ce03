-- The text of a sequence, BOS included.
CREATE MACRO token_text(of_seq) AS (
    CASE
        WHEN main.answers_here('$warehouse')
            THEN (
                WITH given (seq_id) AS (SELECT of_seq)

                SELECT main.joined_text(v.token, v.token_bytes, t.pos)
                FROM given AS g
                INNER JOIN main.tokens AS t ON g.seq_id = t.seq_id
                INNER JOIN main.vocabulary AS v ON t.token_id = v.token_id
            )
    END
);
COMMENT ON MACRO token_text IS 'Text of a sequence: token_text(seq_id)';
