-- Grain: at most one row, when a mined feature has rules of this scaling.
SELECT 1 AS found
FROM rules AS r
SEMI JOIN mined_features AS f ON r.feature = f.feature
WHERE r.layer = $layer AND r.head = $head AND r.scaling = $scaling
LIMIT 1;
