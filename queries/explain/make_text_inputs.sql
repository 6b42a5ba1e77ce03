-- Grain: an input feature active at a position of a text of the user's own.
-- Makes: text_inputs
CREATE OR REPLACE TEMP TABLE text_inputs (
    layer SMALLINT,
    seq_id INTEGER,
    pos INTEGER,
    feature INTEGER,
    activation FLOAT
);
