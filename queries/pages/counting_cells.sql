-- Grain: a counting rule of a feature of a page, where it was counted or tried (in the corpus, or on the model with tokens
-- inserted), and a number of keys and of opponents up to the four of the grid, with how often the feature is active there.
-- Reads: counting_counts, counting_grid, counting_rules
WITH cells AS (
    SELECT
        c.feature,
        c.scaling,
        c.pair,
        'corpus' AS place,
        c.n_key,
        coalesce(c.n_opponent, 0) AS n_opponent,
        sum(c.n_positions)::BIGINT AS n,
        sum(c.n_active) / sum(c.n_positions) AS active_share
    FROM counting_counts AS c
    WHERE c.layer = $layer AND c.head = $head AND c.split = 'test'
    GROUP BY c.feature, c.scaling, c.pair, c.n_key, coalesce(c.n_opponent, 0)
    UNION ALL
    SELECT
        g.feature,
        g.scaling,
        g.pair,
        'model' AS place,
        g.n_key,
        g.n_opponent,
        g.n_examples AS n,
        g.active_share
    FROM counting_grid AS g
    WHERE g.layer = $layer AND g.head = $head
)

SELECT c.*
FROM cells AS c
INNER JOIN counting_rules AS r
    ON r.layer = $layer AND r.head = $head AND c.feature = r.feature AND c.scaling = r.scaling AND c.pair = r.pair
WHERE
    c.feature IN (SELECT unnest($features::INTEGER[]) AS feature)
    AND c.n_key <= 4 AND c.n_opponent <= 4
ORDER BY ALL;
