-- Grain: a judged position and a mined feature.
CREATE OR REPLACE TEMP TABLE predictions (
    feature UINTEGER,
    n_rules UINTEGER,
    seq_id UINTEGER,
    pos USMALLINT,
    prediction DOUBLE
);
