-- Grain: an absence rule, or a counting rule without an opponent, that the model confirms.
-- Reads: absence_summary, counting_summary
SELECT
    'absence' AS kind,
    layer,
    head,
    feature,
    scaling,
    pair,
    key_feature,
    query_feature,
    distractor_feature,
    NULL AS at_least
FROM absence_summary
WHERE
    confirmed
    AND ($layer IS NULL OR layer = $layer AND head = $head)
    AND ($feature IS NULL OR feature = $feature)
UNION ALL
SELECT
    'counting' AS kind,
    layer,
    head,
    feature,
    scaling,
    pair,
    key_feature,
    query_feature,
    NULL AS distractor_feature,
    threshold AS at_least
FROM counting_summary
WHERE
    confirmed AND opponent_feature IS NULL
    AND ($layer IS NULL OR layer = $layer AND head = $head)
    AND ($feature IS NULL OR feature = $feature)
ORDER BY layer, head, feature, kind, scaling, pair;
