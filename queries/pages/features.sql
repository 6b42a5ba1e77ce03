-- Grain: an output feature of a head that fires, with what it says and how well its rules predict it.
-- Reads: best_lists, output_features, rule_right_sides, rules, stated_rules
SELECT
    f.feature,
    f.n_sequences,
    f.n_tokens,
    f.mean_activation,
    f.max_activation,
    f.description,
    f.preactivation_bias,
    n.says,
    n.evidence,
    b.method,
    b.n_rules,
    b.n_rules_used,
    b.base_rate,
    b.precision,
    b.recall,
    b.f1,
    b.average_precision,
    b.average_precision_low,
    b.average_precision_high,
    b.ceiling_average_precision,
    s.n_stated,
    s.statement,
    coalesce(s.n_stated, 0) > 0 OR r.feature IS NOT NULL AS has_rules
FROM output_features AS f
LEFT JOIN rule_right_sides AS n ON f.layer = n.layer AND f.head = n.head AND f.feature = n.feature
LEFT JOIN best_lists AS b
    ON f.layer = b.layer AND f.head = b.head AND f.feature = b.feature AND b.example_set = 'all_positions'
LEFT JOIN (
    SELECT
        layer,
        head,
        feature,
        count(*) AS n_stated,
        arg_min(statement, rank) AS statement
    FROM stated_rules
    GROUP BY layer, head, feature
) AS s ON f.layer = s.layer AND f.head = s.head AND f.feature = s.feature
LEFT JOIN (
    SELECT DISTINCT
        layer,
        head,
        feature
    FROM rules
) AS r ON f.layer = r.layer AND f.head = r.head AND f.feature = r.feature
WHERE f.layer = $layer AND f.head = $head AND f.n_tokens > 0
ORDER BY f.feature;
