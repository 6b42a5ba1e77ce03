-- The heads, and layers, whose output SAEs the warehouse holds: attention kept, features that fire, metrics of their rules.
-- Group: heads
-- $n_rules = 16: length of the rule lists
-- $method = "weighted": how the rules were found
-- $example_set = "all_positions": one of all_positions, paper, uniform, bins
-- Of an SAE over a whole layer (head -1), kept_attention is the mean over its heads.
SELECT
    f.layer,
    f.head,
    head_label(f.layer, f.head) AS name,
    round(any_value(h.kept_attention_mass), 3) AS kept_attention,
    count(*) FILTER (WHERE f.n_tokens > 0) AS n_features_that_fire,
    any_value(m.n_features) AS n_features_mined,
    any_value(round(m.mean_f1, 3)) AS mean_f1,
    any_value(round(m.mean_f1_at_threshold, 3)) AS mean_f1_at_threshold,
    any_value(round(m.mean_average_precision, 3)) AS mean_average_precision,
    any_value(round(m.mean_spearman, 3)) AS mean_spearman
FROM output_features AS f
LEFT JOIN (
    SELECT
        layer,
        head,
        kept_attention_mass
    FROM heads
    UNION ALL
    SELECT
        layer,
        -1 AS head,
        avg(kept_attention_mass) AS kept_attention_mass
    FROM heads
    GROUP BY layer
) AS h ON f.layer = h.layer AND f.head = h.head
LEFT JOIN rule_metrics_by_head AS m
    ON
        f.layer = m.layer
        AND f.head = m.head
        AND m.method = $method
        AND m.n_rules = $n_rules
        AND m.example_set = $example_set
        AND m.split = 'test'
GROUP BY f.layer, f.head
ORDER BY f.layer, f.head;
