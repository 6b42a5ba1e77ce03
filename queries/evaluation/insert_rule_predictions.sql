-- Grain: a judged position where the first n_rules rules match: buckets up to n_rules put together, then key positions.
-- Reads: bucket_scores
-- Writes: predictions
INSERT INTO predictions BY NAME
WITH by_key AS (
    SELECT
        b.feature,
        b.place,
        b.key_pos,
        g.n_rules,
        CASE WHEN $aggregation IN ('sum', 'max_of_sums') THEN exact_sum(b.score) ELSE max(b.score) END AS score
    FROM bucket_scores AS b
    INNER JOIN (SELECT unnest($grid::INTEGER[]) AS n_rules) AS g ON b.n_rules <= g.n_rules
    GROUP BY b.feature, b.place, b.key_pos, g.n_rules
)

SELECT
    $way AS way,
    feature,
    n_rules,
    place,
    CASE WHEN $aggregation IN ('sum', 'sum_of_maxima') THEN exact_sum(score) ELSE max(score) END AS prediction
FROM by_key
GROUP BY feature, n_rules, place;
