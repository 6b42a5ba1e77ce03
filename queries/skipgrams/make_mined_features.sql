-- Grain: an output feature being mined, with the seeds of its draws.
-- Makes: mined_features
CREATE OR REPLACE TEMP TABLE mined_features AS
SELECT
    feature,
    mix32(mix32(mix32($seed) + 256 * $layer + $head) + feature) AS feature_seed
FROM (SELECT unnest($features::INTEGER[]) AS feature);
