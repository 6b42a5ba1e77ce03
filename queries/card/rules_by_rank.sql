-- Grain: a rule of one list, among those of the ranks asked for.
-- Reads: rule_texts
SELECT
    method,
    scaling,
    rank,
    through_head,
    key_feature,
    key_description,
    query_feature,
    query_description,
    attn_score,
    attn_distance,
    value_score,
    score
FROM rule_texts
WHERE
    layer = $layer AND head = $head AND feature = $feature
    AND method = $method AND scaling = $scaling
    AND rank IN (SELECT unnest($ranks::INTEGER[]))
ORDER BY list_position($ranks::INTEGER[], rank) ASC, score DESC, through_head ASC, key_feature ASC, query_feature ASC;
