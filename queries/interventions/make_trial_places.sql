-- Grain: a forward pass to be made, and the position at which the rule that it tests (`scope`) is looked at.
-- Makes: judged
CREATE OR REPLACE TEMP TABLE judged (
    place INTEGER,
    scope INTEGER,
    seq_id INTEGER,
    pos INTEGER
);
