-- Grain: a token of a sequence that does not come from the warehouse.
-- Makes: read_tokens
CREATE OR REPLACE TEMP TABLE read_tokens (
    scope INTEGER,
    seq_id INTEGER,
    pos INTEGER,
    token_id INTEGER
);
