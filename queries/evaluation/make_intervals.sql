-- Grain: a list of the first n_rules rules of a feature: ends of the bootstrap intervals of its metrics on test.
-- Makes: intervals
CREATE OR REPLACE TEMP TABLE intervals (
    feature INTEGER,
    n_rules INTEGER,
    f1_low DOUBLE,
    f1_high DOUBLE,
    f1_at_threshold_low DOUBLE,
    f1_at_threshold_high DOUBLE,
    average_precision_low DOUBLE,
    average_precision_high DOUBLE
);
