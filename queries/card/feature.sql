-- Grain: one output feature.
-- Reads: chunks, output_effects, output_features, rule_right_sides, unembedding
SELECT
    f.layer,
    f.head,
    f.feature,
    f.n_sequences,
    f.n_tokens,
    f.mean_activation,
    f.mean_max_activation,
    f.max_activation,
    f.description,
    n.says,
    n.evidence,
    e.kurtosis,
    (SELECT u.random_kurtosis FROM unembedding AS u) AS random_kurtosis,
    (SELECT sum(c.n_seqs) FROM chunks AS c) AS n_sequences_stored
FROM output_features AS f
LEFT JOIN rule_right_sides AS n ON f.layer = n.layer AND f.head = n.head AND f.feature = n.feature
LEFT JOIN output_effects AS e ON f.layer = e.layer AND f.head = e.head AND f.feature = e.feature
WHERE f.layer = $layer AND f.head = $head AND f.feature = $feature;
