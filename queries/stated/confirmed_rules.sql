-- Grain: an absence rule, or a counting rule without an opponent, that the model confirms; of one head or feature, where these are
-- named. Of a counting rule the seed too: which sequences its threshold was chosen on follows from that. No rule that looks
-- at BOS, which the language cannot.
-- Reads: absence_summary, counting_rules, counting_summary, distractors, input_activations, runs
WITH found AS (
    SELECT
        'absence' AS kind,
        a.layer,
        a.head,
        a.feature,
        a.scaling,
        a.pair,
        a.key_feature,
        a.query_feature,
        a.distractor_feature,
        d.run_id
    FROM absence_summary AS a
    INNER JOIN distractors AS d USING (layer, head, feature, scaling, pair)
    WHERE a.confirmed
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
        k.run_id
    FROM counting_summary AS c
    INNER JOIN counting_rules AS k USING (layer, head, feature, scaling, pair)
    WHERE c.confirmed AND c.opponent_feature IS NULL
),

at_bos AS (
    SELECT DISTINCT
        layer,
        feature
    FROM input_activations
    WHERE pos = 0 AND EXISTS (SELECT 1 FROM runs WHERE (arguments ->> '$.bos_keys')::BOOLEAN)
)

SELECT
    f.* EXCLUDE (run_id),
    coalesce((r.arguments ->> '$.seed')::BIGINT, 0) AS chosen_by_seed
FROM found AS f
LEFT JOIN runs AS r ON f.run_id = r.run_id
WHERE
    ($layer IS NULL OR f.layer = $layer AND f.head = $head)
    AND ($feature IS NULL OR f.feature = $feature)
    AND NOT (
        coalesce((r.arguments ->> '$.bos_keys')::BOOLEAN, FALSE)
        AND EXISTS (
            SELECT 1
            FROM at_bos AS b
            WHERE b.layer = f.layer AND b.feature IN (f.key_feature, f.query_feature, f.distractor_feature)
        )
    )
ORDER BY f.layer, f.head, f.feature, f.kind, f.scaling, f.pair;
