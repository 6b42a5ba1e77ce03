-- Grain: a candidate pair of a mined feature, in order of feature and query.
SELECT
    feature,
    key_feature,
    query_feature
FROM candidate_pairs
ORDER BY feature, query_feature, key_feature;
