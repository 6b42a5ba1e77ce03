-- Grain: a rule, as words.
CREATE VIEW rule_texts AS
SELECT
    r.layer,
    r.head,
    r.feature,
    r.method,
    r.scaling,
    r.rank,
    r.key_feature,
    k.description AS key_description,
    r.query_feature,
    q.description AS query_description,
    r.attn_score,
    r.value_score,
    r.score
FROM rules AS r
LEFT JOIN input_features AS k ON r.layer = k.layer AND r.key_feature = k.feature
LEFT JOIN input_features AS q ON r.layer = q.layer AND r.query_feature = q.feature;
COMMENT ON VIEW rule_texts IS 'Rules with the descriptions of their key and query features';
