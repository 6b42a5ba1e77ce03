-- Grain: a rule that is asked about, numbered from 0, and its feature.
-- Makes: read_rules
CREATE OR REPLACE TEMP TABLE read_rules AS
SELECT
    (generate_subscripts($features::INTEGER[], 1) - 1)::INTEGER AS rule,
    0 AS scope,
    unnest($features::INTEGER[]) AS feature,
    'given' AS method,
    'none' AS scaling,
    TRUE AS is_stated,
    1 AS rank,
    0::DOUBLE AS weight,
    0::DOUBLE AS prior;
