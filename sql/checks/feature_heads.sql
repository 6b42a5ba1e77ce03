-- Every output feature has a row for each head that it reads, whose shares add up to 1 and whose contributions add up to its
-- activation; and every rule acts through a head that its feature reads.
-- Reads: counting_rules, distractors, feature_heads, heads, model, output_features, rules
WITH model_heads AS (
    SELECT
        n_heads,
        CASE dtype WHEN 'bfloat16' THEN 0.05 ELSE 0.001 END AS tolerance
    FROM model
),

summed AS (
    SELECT
        f.layer,
        f.head,
        f.feature,
        f.mean_activation,
        any_value(f.preactivation_bias) AS preactivation_bias,
        count(h.through_head) AS n_rows,
        count(DISTINCT h.through_head) FILTER (
            CASE WHEN f.head < 0 THEN h.through_head BETWEEN 0 AND m.n_heads - 1 ELSE h.through_head = f.head END
        ) AS n_heads_read,
        CASE WHEN f.head < 0 THEN m.n_heads ELSE 1 END AS n_heads_expected,
        sum(h.weight_share) AS weight_share,
        sum(h.data_share) AS data_share,
        sum(h.mean_contribution) AS contribution,
        sum(abs(h.mean_contribution)) AS size,
        any_value(m.tolerance) AS tolerance
    FROM output_features AS f
    CROSS JOIN model_heads AS m
    LEFT JOIN feature_heads AS h ON f.layer = h.layer AND f.head = h.head AND f.feature = h.feature
    GROUP BY f.layer, f.head, f.feature, f.mean_activation, m.n_heads
),

finished AS (
    SELECT
        layer,
        bool_and(kept_attention_mass IS NOT NULL) AS is_finished
    FROM heads
    GROUP BY layer
),

acting AS (
    SELECT DISTINCT
        'rules' AS table_name,
        layer,
        head,
        through_head
    FROM rules
    UNION ALL
    SELECT DISTINCT
        'distractors' AS table_name,
        layer,
        head,
        through_head
    FROM distractors
    UNION ALL
    SELECT DISTINCT
        'counting_rules' AS table_name,
        layer,
        head,
        through_head
    FROM counting_rules
)

SELECT
    format(
        '{}.{}: {} rows for {} heads stored, it reads {}',
        head_label(layer, head), feature, n_rows, n_heads_read, n_heads_expected
    ) AS problem
FROM summed
WHERE n_rows <> n_heads_expected OR n_heads_read <> n_heads_expected
UNION ALL
SELECT
    format('{}.{}: shares of its heads add up to {} by weights and {} by data', head_label(layer, head), feature, weight_share, data_share)
        AS problem
FROM summed
WHERE abs(weight_share - 1) > 0.000001 OR abs(data_share - 1) > 0.000001
UNION ALL
SELECT
    format(
        '{}.{}: its heads bring {} on average, its activation says {}',
        head_label(s.layer, s.head), s.feature, s.contribution, s.mean_activation - s.preactivation_bias
    ) AS problem
FROM summed AS s
INNER JOIN finished AS f ON s.layer = f.layer
WHERE
    f.is_finished
    AND s.mean_activation IS NOT NULL
    AND NOT coalesce(
        abs(s.contribution + s.preactivation_bias - s.mean_activation)
        <= s.tolerance * (abs(s.preactivation_bias) + s.mean_activation + s.size),
        FALSE
    )
UNION ALL
SELECT
    format('{}: a rule of {} acts through head {}, which it does not read', a.table_name, head_label(a.layer, a.head), a.through_head)
        AS problem
FROM acting AS a
CROSS JOIN model_heads AS m
WHERE NOT CASE WHEN a.head < 0 THEN a.through_head BETWEEN 0 AND m.n_heads - 1 ELSE a.through_head = a.head END
UNION ALL
SELECT format('feature_heads: {}.{} is no output feature', head_label(layer, head), feature) AS problem
FROM feature_heads
ANTI JOIN output_features USING (layer, head, feature);
