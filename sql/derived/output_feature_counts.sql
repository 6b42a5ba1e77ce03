-- Grain of the update: an output feature of $layer. Counts include BOS: n_sequences is the n_active of method.md section
-- 4.3.
-- Reads: output_activations, output_features
-- Writes: output_features
WITH per_sequence AS (
    SELECT
        layer,
        head,
        feature,
        seq_id,
        count(*) AS n_tokens,
        exact_sum(activation::DOUBLE) AS total,
        max(activation) AS largest
    FROM output_activations
    WHERE layer = $layer
    GROUP BY layer, head, feature, seq_id
),

counted AS (
    SELECT
        layer,
        head,
        feature,
        count(*) AS n_sequences,
        sum(n_tokens) AS n_tokens,
        exact_sum(total) / sum(n_tokens) AS mean_activation,
        exact_sum(largest::DOUBLE) / count(*) AS mean_max_activation,
        max(largest) AS max_activation
    FROM per_sequence
    GROUP BY layer, head, feature
)

UPDATE output_features SET
    n_sequences = coalesce(c.n_sequences, 0),
    n_tokens = coalesce(c.n_tokens, 0),
    mean_activation = c.mean_activation,
    mean_max_activation = c.mean_max_activation,
    max_activation = c.max_activation
FROM (
    SELECT
        f.layer,
        f.head,
        f.feature,
        counted.n_sequences,
        counted.n_tokens,
        counted.mean_activation,
        counted.mean_max_activation,
        counted.max_activation
    FROM output_features AS f
    LEFT JOIN counted USING (layer, head, feature)
    WHERE f.layer = $layer
) AS c
WHERE
    output_features.layer = c.layer
    AND output_features.head = c.head
    AND output_features.feature = c.feature;
