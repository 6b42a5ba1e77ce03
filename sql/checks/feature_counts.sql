-- The counts of output features agree with the activations they were derived from; of an ingest that is not
-- finished, they are not computed yet.
-- Reads: heads, output_activations, output_features
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
        '{}.{}: {} tokens in {} sequences recorded, {} in {} stored',
        head_label(f.layer, f.head), f.feature, f.n_tokens, f.n_sequences, coalesce(c.n_tokens, 0), coalesce(c.n_sequences, 0)
    ) AS problem
FROM output_features AS f
-- Of a layer-wide SAE (head -1) any head will do: all are finished together.
INNER JOIN heads AS h ON f.layer = h.layer AND greatest(f.head, 0) = h.head
LEFT JOIN counted AS c ON f.layer = c.layer AND f.head = c.head AND f.feature = c.feature
WHERE
    h.kept_attention_mass IS NOT NULL
    AND (f.n_tokens <> coalesce(c.n_tokens, 0) OR f.n_sequences <> coalesce(c.n_sequences, 0));
