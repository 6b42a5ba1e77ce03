-- Grain: a token of a sequence that is judged, once for each feature that it is judged for.
-- Reads: read_sequences, tokens
-- Makes: read_tokens
CREATE OR REPLACE TEMP TABLE read_tokens AS
SELECT
    s.scope,
    t.seq_id,
    t.pos,
    t.token_id
FROM read_sequences AS s
INNER JOIN tokens AS t ON s.seq_id = t.seq_id;
