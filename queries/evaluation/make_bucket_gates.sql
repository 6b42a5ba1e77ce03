-- Grain: a judged position and a bucket of ranks: the sum of V(f,i) G[q,i] over the keys of the bucket's rules, each key
-- once; those of a rule with queries only where at least one of them is active.
-- Reads: lists, query_side, received
-- Makes: bucket_scores
CREATE OR REPLACE TEMP TABLE bucket_scores AS
WITH of_method AS (
    FROM lists
    WHERE method = $method AND scaling = $scaling
),

keys_of_rules AS (
    SELECT
        r.scope,
        r.feature,
        r.n_rules,
        r.rank,
        r.key_feature,
        any_value(r.value_score) AS value_score,
        any_value(r.query_feature) IS NOT NULL AS has_query
    FROM of_method AS r
    GROUP BY r.scope, r.feature, r.n_rules, r.rank, r.key_feature
),

open_rules AS (
    SELECT DISTINCT
        r.scope,
        r.feature,
        r.rank,
        q.place
    FROM (SELECT DISTINCT scope, feature, rank, query_feature FROM of_method) AS r
    INNER JOIN query_side AS q ON r.scope = q.scope AND r.query_feature = q.query_feature
),

carried AS (
    SELECT
        r.feature,
        g.place,
        r.n_rules,
        r.value_score * g.amount AS score
    FROM keys_of_rules AS r
    INNER JOIN received AS g ON r.scope = g.scope AND r.key_feature = g.key_feature
    WHERE NOT r.has_query
    UNION ALL
    SELECT
        r.feature,
        g.place,
        r.n_rules,
        r.value_score * g.amount AS score
    FROM keys_of_rules AS r
    INNER JOIN open_rules AS o ON r.scope = o.scope AND r.feature = o.feature AND r.rank = o.rank
    INNER JOIN received AS g
        ON r.scope = g.scope AND r.key_feature = g.key_feature AND o.place = g.place
)

SELECT
    feature,
    place,
    NULL::INTEGER AS key_pos,
    n_rules,
    exact_sum(score) AS score
FROM carried
GROUP BY feature, place, n_rules;
