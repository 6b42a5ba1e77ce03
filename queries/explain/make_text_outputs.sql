-- Grain: an output feature active at a position of a text of the user's own.
-- Makes: text_outputs
CREATE OR REPLACE TEMP TABLE text_outputs (
    layer SMALLINT,
    head SMALLINT,
    seq_id INTEGER,
    pos INTEGER,
    feature INTEGER,
    activation FLOAT
);
