-- Grain: a judged position and a mined feature.
-- Makes: predictions
CREATE OR REPLACE TEMP TABLE predictions (
    feature INTEGER,
    n_rules INTEGER,
    place INTEGER,
    prediction DOUBLE
);
