-- Grain: an output feature, with the metrics of its best rule list on all held-out positions, and of its best list on
-- the balanced examples of the set paper, where the same figures are far higher.
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
    a.method AS all_positions_method,
    a.scaling AS all_positions_scaling,
    a.n_rules AS all_positions_n_rules,
    a.base_rate AS all_positions_base_rate,
    a.precision AS all_positions_precision,
    a.recall AS all_positions_recall,
    a.f1 AS all_positions_f1,
    a.average_precision AS all_positions_average_precision,
    a.ceiling_average_precision AS all_positions_ceiling,
    a.spearman AS all_positions_spearman,
    b.method AS best_method,
    b.scaling AS best_scaling,
    b.n_rules AS best_n_rules,
    b.f1_at_threshold AS test_f1,
    b.precision_at_threshold AS test_precision,
    b.recall_at_threshold AS test_recall,
    b.average_precision AS test_average_precision,
    b.spearman AS test_spearman
FROM output_features AS f
LEFT JOIN best_lists AS a
    ON
        f.layer = a.layer AND f.head = a.head AND f.feature = a.feature
        AND a.example_set = 'all_positions'
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
COMMENT ON VIEW feature_summary IS 'Output features with their counts, the test metrics of their best rule list on all positions (all_positions_..., view best_lists), and of the best on the balanced examples of the set paper (best_... and test_..., chosen on val by F1), at the threshold chosen on train';
COMMENT ON COLUMN feature_summary.layer IS 'Layer of the head, from 0';
COMMENT ON COLUMN feature_summary.head IS 'Head within the layer, from 0; -1: the SAE over the whole layer';
COMMENT ON COLUMN feature_summary.feature IS 'Output feature of the head, or of the layer';
COMMENT ON COLUMN feature_summary.n_sequences IS 'Sequences it is active in';
COMMENT ON COLUMN feature_summary.n_tokens IS 'Positions it is active at';
COMMENT ON COLUMN feature_summary.mean_activation IS 'Mean activation where it is active';
COMMENT ON COLUMN feature_summary.max_activation IS 'Largest activation';
COMMENT ON COLUMN feature_summary.description IS 'Tokens that it fires on';
COMMENT ON COLUMN feature_summary.all_positions_method IS 'Method of the list that best_lists chooses on all positions; NULL where none was judged there';
COMMENT ON COLUMN feature_summary.all_positions_scaling IS 'Scaling of that list';
COMMENT ON COLUMN feature_summary.all_positions_n_rules IS 'Length asked for of that list';
COMMENT ON COLUMN feature_summary.all_positions_base_rate IS 'Share of all test positions at which the feature is active';
COMMENT ON COLUMN feature_summary.all_positions_precision IS 'Precision of that list on all test positions';
COMMENT ON COLUMN feature_summary.all_positions_recall IS 'Recall of that list on all test positions';
COMMENT ON COLUMN feature_summary.all_positions_f1 IS 'F1 of that list on all test positions';
COMMENT ON COLUMN feature_summary.all_positions_average_precision IS 'Average precision of that list on all test positions';
COMMENT ON COLUMN feature_summary.all_positions_ceiling IS 'Average precision there of all input features together';
COMMENT ON COLUMN feature_summary.all_positions_spearman IS 'Rank correlation there of prediction and activation';
COMMENT ON COLUMN feature_summary.best_method IS 'Method of the list of largest F1 on the val examples of the set paper';
COMMENT ON COLUMN feature_summary.best_scaling IS 'Scaling of that list';
COMMENT ON COLUMN feature_summary.best_n_rules IS 'Length asked for of that list';
COMMENT ON COLUMN feature_summary.test_f1 IS 'F1 of that list on the balanced test examples of the set paper';
COMMENT ON COLUMN feature_summary.test_precision IS 'Precision of that list on the balanced test examples of the set paper';
COMMENT ON COLUMN feature_summary.test_recall IS 'Recall of that list on the balanced test examples of the set paper';
COMMENT ON COLUMN feature_summary.test_average_precision IS 'Average precision of that list on the balanced test examples of the set paper';
COMMENT ON COLUMN feature_summary.test_spearman IS 'Rank correlation of that list on the balanced test examples of the set paper';
