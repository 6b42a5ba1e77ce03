-- The counts of output features agree with the activations they were derived from.
WITH counted AS (
    SELECT
        layer,
        head,
        feature,
        count(*) AS n_tokens,
        count(DISTINCT seq_id) AS n_sequences
    FROM output_activations
    GROUP BY layer, head, feature
)

SELECT
    format(
        'L{}H{}.{}: {} tokens in {} sequences recorded, {} in {} stored',
        f.layer, f.head, f.feature, f.n_tokens, f.n_sequences, coalesce(c.n_tokens, 0), coalesce(c.n_sequences, 0)
    ) AS problem
FROM output_features AS f
LEFT JOIN counted AS c ON f.layer = c.layer AND f.head = c.head AND f.feature = c.feature
WHERE f.n_tokens <> coalesce(c.n_tokens, 0) OR f.n_sequences <> coalesce(c.n_sequences, 0);
