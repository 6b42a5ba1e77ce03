-- Grain: one head.
-- Reads: heads, output_features
SELECT
    h.layer,
    h.head,
    h.kept_attention_mass,
    count(*) FILTER (WHERE f.n_tokens > 0) AS n_features_that_fire,
    count(f.feature) AS n_features
FROM heads AS h
LEFT JOIN output_features AS f ON h.layer = f.layer AND h.head = f.head
WHERE h.layer = $layer AND h.head = $head
GROUP BY ALL;
