-- Grain: an output feature of one head that its rules predict best on all positions.
-- Reads: best_lists, output_features
SELECT
    b.feature,
    f.n_sequences,
    f.description,
    b.method,
    b.n_rules_used,
    b.base_rate,
    b.average_precision,
    b.average_precision_low,
    b.average_precision_high,
    b.ceiling_average_precision
FROM best_lists AS b
INNER JOIN output_features AS f ON b.layer = f.layer AND b.head = f.head AND b.feature = f.feature
WHERE b.layer = $layer AND b.head = $head AND b.example_set = 'all_positions'
ORDER BY b.average_precision DESC NULLS LAST, b.feature ASC
LIMIT $limit;
