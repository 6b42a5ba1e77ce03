-- Grain: an output feature, with the metrics of its best rule list on held-out examples.
CREATE VIEW feature_summary AS
SELECT
    f.layer,
    f.head,
    f.feature,
    f.n_sequences,
    f.n_tokens,
    f.mean_activation,
    f.max_activation,
    f.description,
    b.method AS best_method,
    b.scaling AS best_scaling,
    b.n_rules AS best_n_rules,
    b.f1_at_threshold AS test_f1,
    b.precision_at_threshold AS test_precision,
    b.recall_at_threshold AS test_recall,
    b.average_precision AS test_average_precision,
    b.spearman AS test_spearman
FROM output_features AS f
LEFT JOIN (
    -- Chosen on val, reported on test: the choice must not see what it is reported on.
    SELECT t.*
    FROM rule_metric_values AS v
    INNER JOIN rule_metric_values AS t
        USING (layer, head, feature, method, scaling, example_set, n_rules)
    WHERE
        v.split = 'val' AND t.split = 'test' AND v.example_set = 'paper'
        AND v.method IN (SELECT m.method FROM methods AS m WHERE m.kind = 'rules')
    QUALIFY
        row_number() OVER (
            PARTITION BY v.layer, v.head, v.feature
            ORDER BY v.f1_at_threshold DESC NULLS LAST, v.n_rules ASC, v.method ASC, v.scaling DESC
        ) = 1
) AS b
    ON f.layer = b.layer AND f.head = b.head AND f.feature = b.feature;
COMMENT ON VIEW feature_summary IS 'Output features with their counts and the metrics of their best rule list: chosen on val, reported on test, at the threshold chosen on train, examples of the set paper';
