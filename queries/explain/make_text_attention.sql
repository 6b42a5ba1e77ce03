-- Grain: a token of a text of the user's own that another attends to, through one head.
-- Makes: text_attention
CREATE OR REPLACE TEMP TABLE text_attention (
    layer SMALLINT,
    head SMALLINT,
    seq_id INTEGER,
    query_pos INTEGER,
    key_pos INTEGER,
    weight FLOAT,
    weight_from_features FLOAT
);
