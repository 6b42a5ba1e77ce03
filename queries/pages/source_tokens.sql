-- Grain: a feature of a page and one of the twelve tokens that get more attention where it is active than anywhere, by how
-- much more.
-- Reads: drawn_sources, vocabulary
WITH by_token AS (
    SELECT
        feature,
        token_id,
        exact_sum(attention) AS attention
    FROM drawn_sources
    GROUP BY feature, token_id
)

SELECT
    b.feature,
    v.token,
    b.attention,
    coalesce(e.attention, 0) AS attention_everywhere
FROM by_token AS b
LEFT JOIN by_token AS e ON e.feature = -1 AND b.token_id = e.token_id
INNER JOIN vocabulary AS v ON b.token_id = v.token_id
WHERE b.feature >= 0 AND b.attention > coalesce(e.attention, 0)
QUALIFY
    row_number() OVER (
        PARTITION BY b.feature ORDER BY b.attention - coalesce(e.attention, 0) DESC, b.token_id ASC
    ) <= 12
ORDER BY b.feature ASC, b.attention - coalesce(e.attention, 0) DESC, b.token_id ASC;
