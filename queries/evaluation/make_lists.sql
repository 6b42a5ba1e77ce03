-- Grain: a rule of a mined feature in a list to be judged, with the bucket of ranks it falls in: `n_rules` is the
-- shortest list of the grid that holds it. Besides the stored rules there are two baselines made from the magnitude
-- rules: `key_anywhere` drops the query, `random` swaps both features for others that fire about as often. Both keep the
-- head that a rule acts through.
-- Reads: input_features, mined_features, other_runs, rules, stated_rules
-- Makes: lists
CREATE OR REPLACE TEMP TABLE lists AS
WITH stored AS (
    SELECT
        r.feature,
        r.method,
        r.scaling,
        r.rank,
        r.through_head,
        r.key_feature,
        r.query_feature,
        r.attn_score,
        r.value_score,
        r.score
    FROM rules AS r
    SEMI JOIN mined_features AS f ON r.feature = f.feature
    ANTI JOIN other_runs AS o ON r.run_id = o.run_id AND r.method = o.method
    WHERE r.layer = $layer AND r.head = $head
),

by_frequency AS (
    SELECT
        feature,
        row_number() OVER (ORDER BY n_tokens, mix32($seed + feature)) - 1 AS place
    FROM input_features
    WHERE layer = $layer
),

-- Another feature among the eight that are next to each other in frequency.
partners AS (
    SELECT
        b.feature,
        p.feature AS partner
    FROM by_frequency AS b
    CROSS JOIN (SELECT mix32($seed) AS seed) AS h
    INNER JOIN by_frequency AS p
        ON p.place = 8 * (b.place // 8) + (b.place + 1 + mix32(h.seed + b.feature) % 7) % 8
),

-- What a stated rule says is in other tables.
stated AS (
    SELECT
        t.feature,
        'stated' AS method,
        'none' AS scaling,
        t.rank,
        NULL AS through_head,
        NULL AS key_feature,
        NULL AS query_feature,
        NULL AS attn_score,
        NULL AS value_score,
        t.weight AS score
    FROM stated_rules AS t
    SEMI JOIN mined_features AS f ON t.feature = f.feature
    ANTI JOIN other_runs AS o ON t.run_id = o.run_id AND o.method = 'stated'
    WHERE t.layer = $layer AND t.head = $head
),

everything AS (
    FROM stored
    UNION ALL
    FROM stated
    UNION ALL
    SELECT
        feature,
        'key_anywhere' AS method,
        scaling,
        min(rank) AS rank,
        through_head,
        key_feature,
        NULL AS query_feature,
        NULL AS attn_score,
        any_value(value_score) AS value_score,
        max(score) AS score
    FROM stored
    WHERE method = 'magnitude'
    GROUP BY feature, scaling, through_head, key_feature
    UNION ALL
    SELECT
        s.feature,
        'random' AS method,
        s.scaling,
        s.rank,
        s.through_head,
        coalesce(k.partner, s.key_feature) AS key_feature,
        coalesce(q.partner, s.query_feature) AS query_feature,
        s.attn_score,
        s.value_score,
        s.score
    FROM stored AS s
    LEFT JOIN partners AS k ON s.key_feature = k.feature
    LEFT JOIN partners AS q ON s.query_feature = q.feature
    WHERE s.method = 'magnitude'
),

buckets AS (
    SELECT
        n_rules,
        coalesce(lag(n_rules) OVER (ORDER BY n_rules), 0) AS above
    FROM (SELECT unnest($grid::INTEGER[]) AS n_rules)
)

SELECT
    CASE WHEN $example_set = 'all_positions' THEN 0 ELSE e.feature END AS scope,
    e.feature,
    e.method,
    e.scaling,
    b.n_rules,
    e.rank,
    e.through_head,
    e.key_feature,
    e.query_feature,
    e.attn_score,
    e.value_score,
    e.score
FROM everything AS e
INNER JOIN buckets AS b ON e.rank > b.above AND e.rank <= b.n_rules;
