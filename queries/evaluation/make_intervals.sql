-- Grain: a list of rules: ends of the bootstrap intervals of its metrics on test.
-- Makes: intervals
CREATE OR REPLACE TEMP TABLE intervals (
    list INTEGER,
    f1_low DOUBLE,
    f1_high DOUBLE,
    f1_at_threshold_low DOUBLE,
    f1_at_threshold_high DOUBLE,
    average_precision_low DOUBLE,
    average_precision_high DOUBLE
);
