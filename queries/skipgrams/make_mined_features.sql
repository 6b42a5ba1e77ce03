-- Grain: an output feature being mined, with the seeds of its draws.
-- Makes: mined_features
CREATE OR REPLACE TEMP TABLE mined_features AS
SELECT
    f.feature,
    mix32(h.seed + f.feature) AS feature_seed
FROM (SELECT unnest($features::INTEGER[]) AS feature) AS f
CROSS JOIN (SELECT mix32(s.seed + 256 * $layer + $head) AS seed FROM (SELECT mix32($seed) AS seed) AS s) AS h;
