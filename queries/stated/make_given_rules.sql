-- Grain: the rule that is asked about, and its feature.
-- Makes: read_rules
CREATE OR REPLACE TEMP TABLE read_rules AS
SELECT
    0 AS rule,
    0 AS scope,
    $feature::INTEGER AS feature,
    'given' AS method,
    'none' AS scaling,
    TRUE AS is_stated,
    1 AS rank,
    0::DOUBLE AS weight,
    0::DOUBLE AS prior;
