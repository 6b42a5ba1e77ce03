-- Grain: no sequence of the warehouse: none of its input activations are looked at.
-- Makes: read_sequences
CREATE OR REPLACE TEMP TABLE read_sequences (
    scope INTEGER,
    seq_id INTEGER
);
