-- Grain: a judged position and a mined feature: the baseline `always_active`.
-- Reads: judged, mined_features
-- Writes: predictions
INSERT INTO predictions BY NAME
SELECT
    $way AS way,
    f.feature,
    0 AS n_rules,
    j.place,
    1 AS prediction
FROM judged AS j
INNER JOIN mined_features AS f
    ON j.scope = CASE WHEN $example_set = 'all_positions' THEN 0 ELSE f.feature END;
