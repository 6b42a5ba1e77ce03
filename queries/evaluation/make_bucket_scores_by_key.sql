-- Grain: a judged position, a key position and a bucket of ranks with a match. For the aggregations that tell key
-- positions apart: within one, the scores of matches are summed or the largest is taken.
-- Reads: judged, lists, query_side, scaled_activations
-- Makes: bucket_scores
CREATE OR REPLACE TEMP TABLE bucket_scores AS
WITH of_method AS (
    FROM lists
    WHERE method = $method AND scaling = $scaling
),

matches AS (
    SELECT
        r.feature,
        q.place,
        k.pos AS key_pos,
        r.n_rules,
        CASE $match_score
            WHEN 'own' THEN r.score
            WHEN 'linear' THEN (q.activation * k.activation * r.attn_score) * r.value_score
            ELSE (q.activation * k.activation * r.attn_score) * (k.activation * r.value_score)
        END AS score
    FROM of_method AS r
    INNER JOIN query_side AS q ON r.scope = q.scope AND r.query_feature = q.query_feature
    INNER JOIN judged AS j ON q.place = j.place
    INNER JOIN scaled_activations AS k
        ON r.key_feature = k.feature AND j.seq_id = k.seq_id AND j.pos >= k.pos
    WHERE k.pos > 0 OR $bos_keys
    UNION ALL
    SELECT
        r.feature,
        j.place,
        k.pos AS key_pos,
        r.n_rules,
        k.activation * r.value_score AS score
    FROM of_method AS r
    INNER JOIN judged AS j ON r.scope = j.scope
    INNER JOIN scaled_activations AS k
        ON r.key_feature = k.feature AND j.seq_id = k.seq_id AND j.pos >= k.pos
    WHERE r.query_feature IS NULL AND (k.pos > 0 OR $bos_keys)
)

SELECT
    feature,
    place,
    key_pos,
    n_rules,
    CASE WHEN $aggregation IN ('sum', 'max_of_sums') THEN exact_sum(score) ELSE max(score) END AS score
FROM matches
GROUP BY feature, place, key_pos, n_rules;
