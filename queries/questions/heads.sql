-- The heads of the warehouse: attention kept, features that fire, metrics of their rules.
-- $n_rules = 16: length of the rule lists
-- $method = "weighted": how the rules were found
-- $example_set = "all_positions": paper, uniform, bins or all_positions
SELECT
    h.layer,
    h.head,
    round(h.kept_attention_mass, 3) AS kept_attention,
    count(*) FILTER (WHERE f.n_tokens > 0) AS n_features_that_fire,
    any_value(m.n_features) AS n_features_mined,
    any_value(round(m.mean_f1, 3)) AS mean_f1,
    any_value(round(m.mean_f1_at_threshold, 3)) AS mean_f1_at_threshold,
    any_value(round(m.mean_average_precision, 3)) AS mean_average_precision,
    any_value(round(m.mean_spearman, 3)) AS mean_spearman
FROM heads AS h
INNER JOIN output_features AS f ON h.layer = f.layer AND h.head = f.head
LEFT JOIN rule_metrics_by_head AS m
    ON
        h.layer = m.layer
        AND h.head = m.head
        AND m.method = $method
        AND m.n_rules = $n_rules
        AND m.example_set = $example_set
        AND m.split = 'test'
GROUP BY h.layer, h.head, h.kept_attention_mass
ORDER BY h.layer, h.head;
