-- Grain: a judged position and a bucket of ranks with a match, largest score of its matches. Scores as in method.md
-- section 5.1: `product` with a query (a_q a_k S)(a_k V), `linear` (a_q a_k S) V, without a query a_k V; `own` what the rule
-- says of all its matches.
-- Reads: key_side, lists, query_side
-- Makes: bucket_scores
CREATE OR REPLACE TEMP TABLE bucket_scores AS
WITH of_method AS (
    FROM lists
    WHERE method = $method AND scaling = $scaling
)

SELECT
    r.feature,
    q.place,
    NULL::INTEGER AS key_pos,
    r.n_rules,
    max(CASE $match_score
        WHEN 'own' THEN r.score
        WHEN 'linear'
            THEN greatest(
                (q.activation * k.largest * r.attn_score) * r.value_score,
                (q.activation * k.smallest * r.attn_score) * r.value_score
            )
        ELSE greatest(
            (q.activation * k.largest * r.attn_score) * (k.largest * r.value_score),
            (q.activation * k.smallest * r.attn_score) * (k.smallest * r.value_score)
        )
    END) AS score
FROM of_method AS r
INNER JOIN query_side AS q ON r.scope = q.scope AND r.query_feature = q.query_feature
INNER JOIN key_side AS k
    ON r.scope = k.scope AND r.key_feature = k.key_feature AND q.place = k.place
GROUP BY r.feature, q.place, r.n_rules
UNION ALL
SELECT
    r.feature,
    k.place,
    NULL AS key_pos,
    r.n_rules,
    max(greatest(k.largest * r.value_score, k.smallest * r.value_score)) AS score
FROM of_method AS r
INNER JOIN key_side AS k ON r.scope = k.scope AND r.key_feature = k.key_feature
WHERE r.query_feature IS NULL
GROUP BY r.feature, k.place, r.n_rules;
