-- Grain: a list that is judged and a position at which it says something: the sum of what its keys bring, or how likely its
-- stated rules make the feature (method.md sections 5.1, 5.2 and 13.4).
-- Reads: attention_sources, input_activations, judged, judged_lists, read_matches, read_rules, rules, token_scales
-- Makes: predictions
CREATE OR REPLACE TEMP TABLE predictions AS
WITH of_lists AS MATERIALIZED (
    SELECT DISTINCT
        l.scope,
        l.feature,
        r.rank,
        r.through_head,
        r.key_feature,
        r.query_feature,
        r.value_score,
        l.bos_keys
    FROM judged_lists AS l
    INNER JOIN rules AS r
        ON
            r.layer = $layer AND r.head = $head AND l.feature = r.feature
            AND l.method = r.method AND l.scaling = r.scaling AND l.n_rules >= r.rank
    WHERE l.match_score = 'carried'
),

list_keys AS MATERIALIZED (
    SELECT DISTINCT
        scope,
        through_head,
        key_feature,
        bos_keys
    FROM of_lists
),

received AS MATERIALIZED (
    SELECT
        k.scope,
        j.place,
        k.through_head,
        k.key_feature,
        exact_sum(a.weight_from_features * (i.activation / s.ln_scale_from_features)) AS amount
    FROM list_keys AS k
    INNER JOIN input_activations AS i ON i.layer = $layer AND k.key_feature = i.feature
    INNER JOIN token_scales AS s ON s.layer = $layer AND i.seq_id = s.seq_id AND i.pos = s.pos
    INNER JOIN attention_sources AS a
        ON a.layer = $layer AND k.through_head = a.head AND i.seq_id = a.seq_id AND i.pos = a.key_pos
    INNER JOIN judged AS j ON k.scope = j.scope AND a.seq_id = j.seq_id AND a.query_pos = j.pos
    WHERE i.pos > 0 OR k.bos_keys
    GROUP BY k.scope, j.place, k.through_head, k.key_feature
),

-- A rule with queries counts only where one of them is active, and each of its keys once.
open_at AS (
    SELECT DISTINCT
        r.feature,
        r.rank,
        j.place
    FROM of_lists AS r
    INNER JOIN input_activations AS i ON i.layer = $layer AND r.query_feature = i.feature
    INNER JOIN judged AS j ON r.scope = j.scope AND i.seq_id = j.seq_id AND i.pos = j.pos
)

SELECT
    k.feature,
    v.place,
    exact_sum(k.value_score * v.amount) AS prediction
FROM (
    SELECT DISTINCT
        scope,
        feature,
        rank,
        through_head,
        key_feature,
        value_score,
        query_feature IS NOT NULL AS has_queries
    FROM of_lists
) AS k
INNER JOIN received AS v ON k.scope = v.scope AND k.through_head = v.through_head AND k.key_feature = v.key_feature
LEFT JOIN open_at AS o ON k.feature = o.feature AND k.rank = o.rank AND v.place = o.place
WHERE NOT k.has_queries OR o.rank IS NOT NULL
GROUP BY k.feature, v.place
UNION ALL
SELECT
    r.feature,
    m.place,
    1 / (1 + exp(-(any_value(r.prior) + exact_sum(r.weight)))) AS prediction
FROM read_matches AS m
INNER JOIN read_rules AS r ON m.rule = r.rule
GROUP BY r.feature, m.place;
