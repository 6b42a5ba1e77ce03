-- Grain: a judged position and a mined feature.
CREATE OR REPLACE TEMP TABLE predictions (
    feature UINTEGER,
    n_rules UINTEGER,
    place UINTEGER,
    prediction DOUBLE
);
