-- Grain: a method and scaling with rules to judge, and the shortest list of the grid that holds them all.
-- Reads: lists
SELECT
    method,
    scaling,
    max(n_rules) AS longest
FROM lists
GROUP BY method, scaling
ORDER BY method, scaling;
