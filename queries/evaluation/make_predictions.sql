-- Grain: a way to predict, a list of the first n_rules rules of a feature and a judged position that it says something of.
-- Makes: predictions
CREATE OR REPLACE TEMP TABLE predictions (
    way INTEGER,
    feature INTEGER,
    n_rules INTEGER,
    place INTEGER,
    prediction DOUBLE
);
