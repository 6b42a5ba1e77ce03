-- Grain: a judged position and a mined feature: the baseline `always_active`.
-- Reads: judged, mined_features
-- Makes: predictions
CREATE OR REPLACE TEMP TABLE predictions AS
SELECT
    f.feature,
    0::INTEGER AS n_rules,
    j.place,
    1::DOUBLE AS prediction
FROM judged AS j
INNER JOIN mined_features AS f
    ON j.scope = CASE WHEN $example_set = 'all_positions' THEN 0 ELSE f.feature END;
