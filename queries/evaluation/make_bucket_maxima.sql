-- Grain: a judged position and a bucket of ranks with a match, largest score of its matches.
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
    max(greatest(
        score_of_match($match_score, r.score, r.attn_score, r.value_score, k.largest, q.activation, NULL),
        score_of_match($match_score, r.score, r.attn_score, r.value_score, k.smallest, q.activation, NULL)
    )) AS score
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
