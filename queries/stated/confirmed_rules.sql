-- Grain: an absence rule, or a counting rule without an opponent, that the model confirms; of one head or feature, where these are
-- named. Of a counting rule the seed too: which sequences its threshold was chosen on follows from that.
-- Reads: absence_summary, counting_rules, counting_summary, runs
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
        c.layer,
        c.head,
        c.feature,
        c.scaling,
        c.pair,
        c.key_feature,
        c.query_feature,
        c.threshold AS at_least,
        coalesce((r.arguments ->> '$.seed')::BIGINT, 0) AS chosen_by_seed
    FROM counting_summary AS c
    INNER JOIN counting_rules AS k USING (layer, head, feature, scaling, pair)
    LEFT JOIN runs AS r ON k.run_id = r.run_id
    WHERE c.confirmed AND c.opponent_feature IS NULL
)

SELECT *
FROM found
WHERE ($layer IS NULL OR layer = $layer AND head = $head) AND ($feature IS NULL OR feature = $feature)
ORDER BY layer, head, feature, kind, scaling, pair;
