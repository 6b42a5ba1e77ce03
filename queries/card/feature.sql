-- Grain: one output feature.
-- Reads: chunks, output_features
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
    (SELECT sum(c.n_seqs) FROM chunks AS c) AS n_sequences_stored
FROM output_features AS f
WHERE f.layer = $layer AND f.head = $head AND f.feature = $feature;
