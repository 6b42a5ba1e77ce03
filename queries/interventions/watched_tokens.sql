-- Grain: a token to watch of an output feature of $features: among its first $n_tokens by weights or in the corpus.
-- Reads: output_corpus_tokens, output_tokens
WITH by_weights AS (
    SELECT
        feature,
        token_id
    FROM output_tokens
    WHERE
        layer = $layer
        AND head = $head
        AND side = 'promoted'
        AND rank <= $n_tokens
        AND feature IN (SELECT unnest($features::INTEGER[]))
),

in_corpus AS (
    SELECT
        feature,
        token_id
    FROM output_corpus_tokens
    WHERE
        layer = $layer
        AND head = $head
        AND rank <= $n_tokens
        AND feature IN (SELECT unnest($features::INTEGER[]))
)

SELECT
    coalesce(w.feature, c.feature) AS feature,
    coalesce(w.token_id, c.token_id) AS token_id,
    CASE
        WHEN c.token_id IS NULL THEN 'weights'
        WHEN w.token_id IS NULL THEN 'corpus'
        ELSE 'both'
    END AS watched
FROM by_weights AS w
FULL JOIN in_corpus AS c ON w.feature = c.feature AND w.token_id = c.token_id
ORDER BY 1, 2;
