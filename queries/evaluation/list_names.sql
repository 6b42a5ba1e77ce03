-- Grain: a method and scaling with rules to judge.
-- Reads: lists
SELECT DISTINCT
    method,
    scaling
FROM lists
ORDER BY method, scaling;
