-- Grain: a key, and a query where there is one, of a rule of the lists of one method and scaling.
-- Reads: lists
SELECT
    scope,
    feature,
    rank,
    n_rules,
    through_head,
    key_feature,
    coalesce(query_feature, -1) AS query_feature,
    value_score
FROM lists
WHERE method = $method AND scaling = $scaling
ORDER BY feature, rank, through_head, key_feature, query_feature;
