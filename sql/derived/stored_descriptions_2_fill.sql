-- Grain: a feature of $layer that fires in this corpus. Runs after the descriptions by tokens are renewed.
-- Reads: input_features, output_features
-- Writes: feature_descriptions
INSERT INTO feature_descriptions
SELECT
    'input' AS role,
    layer,
    NULL AS head,
    feature,
    'tokens' AS kind,
    description,
    'this corpus' AS source
FROM input_features
WHERE layer = $layer AND description IS NOT NULL
UNION ALL
SELECT
    'output' AS role,
    layer,
    head,
    feature,
    'tokens' AS kind,
    description,
    'this corpus' AS source
FROM output_features
WHERE layer = $layer AND description IS NOT NULL;
