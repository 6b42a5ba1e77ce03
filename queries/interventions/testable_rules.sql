-- Grain: a counting rule.
-- Reads: counting_rules
SELECT
    r.feature,
    r.pair,
    r.key_feature,
    r.opponent_feature,
    r.query_feature,
    r.key_weight,
    r.opponent_weight,
    r.threshold,
    r.presence = 'key without opponent' AS without_opponent,
    r.through_head
FROM counting_rules AS r
WHERE
    r.layer = $layer
    AND r.head = $head
    AND r.scaling = $scaling
    AND r.feature IN (SELECT unnest($features::INTEGER[]))
    AND r.through_head IN (SELECT unnest($through::INTEGER[]))
ORDER BY r.feature, r.pair;
