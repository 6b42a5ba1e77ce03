-- Grain of the update: an input feature of $layer. BOS is left out: its activations are the same in every sequence.
-- Reads: input_activations, input_features
-- Writes: input_features
WITH per_sequence AS (
    SELECT
        layer,
        feature,
        seq_id,
        count(*) AS n_tokens,
        exact_sum(activation::DOUBLE) AS total,
        max(activation) AS largest
    FROM input_activations
    WHERE layer = $layer AND pos > 0
    GROUP BY layer, feature, seq_id
),

counted AS (
    SELECT
        layer,
        feature,
        count(*) AS n_sequences,
        sum(n_tokens) AS n_tokens,
        exact_sum(total) / sum(n_tokens) AS mean_activation,
        max(largest) AS max_activation
    FROM per_sequence
    GROUP BY layer, feature
)

UPDATE input_features SET
    n_sequences = coalesce(c.n_sequences, 0),
    n_tokens = coalesce(c.n_tokens, 0),
    mean_activation = c.mean_activation,
    max_activation = c.max_activation
FROM (
    SELECT
        f.layer,
        f.feature,
        counted.n_sequences,
        counted.n_tokens,
        counted.mean_activation,
        counted.max_activation
    FROM input_features AS f
    LEFT JOIN counted USING (layer, feature)
    WHERE f.layer = $layer
) AS c
WHERE input_features.layer = c.layer AND input_features.feature = c.feature;
