-- The stored attention of a query position sums to at most 1 (up to float32 rounding), both as measured and as
-- computed from features, and no weight is negative.
SELECT
    format(
        'L{}H{} sequence {} query {}: stored attention sums to {} and {} from features',
        layer, head, seq_id, query_pos, kept_mass, kept_mass_from_features
    ) AS problem
FROM attention_coverage
WHERE NOT (kept_mass <= 1.0001 AND kept_mass_from_features <= 1.0001)
UNION ALL
SELECT format('L{}H{} sequence {} query {}: a weight is negative', layer, head, seq_id, query_pos) AS problem
FROM attention_sources
WHERE NOT (weight >= 0 AND weight_from_features >= 0);
