-- Grain: a rule among the first of its method.
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
WHERE layer = $layer AND head = $head AND feature = $feature AND rank <= $n_rules
ORDER BY method ASC, scaling ASC, rank ASC, score DESC, through_head ASC, key_feature ASC, query_feature ASC;
