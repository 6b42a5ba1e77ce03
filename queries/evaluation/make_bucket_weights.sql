-- Grain: a judged position and a bucket of ranks: the sum of V(f,i) G[q,i] over the bucket's rules, of those with a query
-- only where it is active (method.md section 3.5).
-- Reads: lists, query_side, received
-- Makes: bucket_scores
CREATE OR REPLACE TEMP TABLE bucket_scores AS
WITH of_method AS (
    FROM lists
    WHERE method = $method AND scaling = $scaling
)

SELECT
    r.feature,
    g.place,
    NULL::INTEGER AS key_pos,
    r.n_rules,
    exact_sum(r.value_score * g.amount) AS score
FROM of_method AS r
INNER JOIN received AS g ON r.scope = g.scope AND r.key_feature = g.key_feature
WHERE r.query_feature IS NULL
GROUP BY r.feature, g.place, r.n_rules
UNION ALL
SELECT
    r.feature,
    g.place,
    NULL AS key_pos,
    r.n_rules,
    exact_sum(r.value_score * g.amount) AS score
FROM of_method AS r
INNER JOIN query_side AS q ON r.scope = q.scope AND r.query_feature = q.query_feature
INNER JOIN received AS g
    ON r.scope = g.scope AND r.key_feature = g.key_feature AND q.place = g.place
GROUP BY r.feature, g.place, r.n_rules;
