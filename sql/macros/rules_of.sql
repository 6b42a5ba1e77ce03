-- Grain: a rule of one output feature, with both sides described.
CREATE MACRO rules_of(of_layer, of_head, of_feature) AS TABLE
SELECT
    rule_texts.method,
    rule_texts.scaling,
    rule_texts.rank,
    rule_texts.key_feature,
    rule_texts.key_description,
    rule_texts.query_feature,
    rule_texts.query_description,
    rule_texts.attn_score,
    rule_texts.value_score,
    rule_texts.score
FROM rule_texts
WHERE
    rule_texts.layer = of_layer
    AND rule_texts.head = of_head
    AND rule_texts.feature = of_feature
ORDER BY rule_texts.method, rule_texts.scaling, rule_texts.rank;
COMMENT ON MACRO TABLE rules_of IS 'Rules of one output feature: FROM rules_of(layer, head, feature)';
