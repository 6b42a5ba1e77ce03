-- The stored attention of a query position sums to at most 1 (up to rounding), both as measured and as
-- computed from features, and no weight is negative.
-- Reads: attention_coverage, attention_sources, model
SELECT
    format(
        '{} sequence {} query {}: stored attention sums to {} and {} from features',
        head_label(layer, head), seq_id, query_pos, kept_mass, kept_mass_from_features
    ) AS problem
FROM attention_coverage
CROSS JOIN (SELECT 1 + CASE dtype WHEN 'bfloat16' THEN 0.01 ELSE 0.0001 END AS bound FROM model) AS most
WHERE NOT (kept_mass <= most.bound AND kept_mass_from_features <= most.bound)
UNION ALL
SELECT format('{} sequence {} query {}: a weight is negative', head_label(layer, head), seq_id, query_pos) AS problem
FROM attention_sources
WHERE NOT (weight >= 0 AND weight_from_features >= 0);
