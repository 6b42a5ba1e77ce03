-- Grain: an absence rule, or a counting rule without an opponent, that the model confirms; of one head or feature, where these are
-- named.
-- Reads: absence_summary, counting_summary
WITH found AS (
    SELECT
        'absence' AS kind,
        layer,
        head,
        feature,
        scaling,
        pair,
        key_feature,
        query_feature,
        distractor_feature
    FROM absence_summary
    WHERE confirmed
    UNION ALL BY NAME
    SELECT
        'counting' AS kind,
        layer,
        head,
        feature,
        scaling,
        pair,
        key_feature,
        query_feature,
        threshold AS at_least
    FROM counting_summary
    WHERE confirmed AND opponent_feature IS NULL
)

SELECT *
FROM found
WHERE ($layer IS NULL OR layer = $layer AND head = $head) AND ($feature IS NULL OR feature = $feature)
ORDER BY layer, head, feature, kind, scaling, pair;
