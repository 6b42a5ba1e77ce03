-- Grain: an absence rule, or a counting rule that weighs no opponent, that the model confirms; of one head or feature, where these are
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
    WHERE c.confirmed AND c.opponent_weight = 0
),

of_run AS (
    SELECT
        f.* EXCLUDE (run_id),
        coalesce((r.arguments ->> '$.seed')::BIGINT, 0) AS chosen_by_seed,
        coalesce((r.arguments ->> '$.bos_keys')::BOOLEAN, FALSE) AS bos_keys
    FROM found AS f
    LEFT JOIN runs AS r ON f.run_id = r.run_id
),

inputs AS (
    SELECT
        kind,
        layer,
        head,
        feature,
        scaling,
        pair,
        unnest([key_feature, query_feature, distractor_feature]) AS input_feature
    FROM of_run
    WHERE bos_keys
),

at_bos AS (
    SELECT i.*
    FROM inputs AS i
    INNER JOIN input_activations AS a ON i.layer = a.layer AND i.input_feature = a.feature
    WHERE a.pos = 0
)

SELECT f.* EXCLUDE (bos_keys)
FROM of_run AS f
ANTI JOIN at_bos AS b
    ON
        f.kind = b.kind AND f.layer = b.layer AND f.head = b.head AND f.feature = b.feature
        AND f.scaling = b.scaling AND f.pair = b.pair
WHERE
    ($layer IS NULL OR f.layer = $layer AND f.head = $head)
    AND ($feature IS NULL OR f.feature = $feature)
ORDER BY f.layer, f.head, f.feature, f.kind, f.scaling, f.pair;
