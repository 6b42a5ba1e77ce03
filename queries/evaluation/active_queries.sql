-- Grain: an input feature active at a judged position, limited to queries of the lists.
-- Reads: query_side
SELECT
    scope,
    place,
    query_feature
FROM query_side
ORDER BY place, query_feature;
