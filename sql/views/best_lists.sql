-- Grain: an output feature and an example set: the shortest list of rules that reaches 90% of the best average precision
-- on the split that lists are chosen on, with its figures on test. That split is val, and train where a set has no val.
CREATE VIEW best_lists AS
WITH lists AS (
    SELECT v.*
    FROM rule_metric_values AS v
    INNER JOIN methods AS m ON v.method = m.method
    WHERE m.kind = 'rules'
),

candidates AS (
    SELECT
        *,
        max(average_precision) OVER (PARTITION BY layer, head, feature, example_set) AS largest_average_precision
    FROM lists
    WHERE
        split = CASE example_set WHEN 'all_positions' THEN 'train' ELSE 'val' END
        AND average_precision IS NOT NULL
),

chosen AS (
    SELECT *
    FROM candidates
    WHERE average_precision >= 0.9 * largest_average_precision
    QUALIFY
        row_number() OVER (
            PARTITION BY layer, head, feature, example_set
            ORDER BY n_rules_used ASC, average_precision DESC, n_rules ASC, method ASC, scaling DESC
        ) = 1
)

SELECT
    t.layer,
    t.head,
    t.feature,
    t.example_set,
    t.method,
    t.scaling,
    t.n_rules,
    t.n_rules_used,
    c.split AS chosen_on,
    c.average_precision AS chosen_average_precision,
    c.largest_average_precision,
    t.n_examples,
    t.n_active,
    t.n_active / t.n_examples AS base_rate,
    t.precision_at_threshold AS precision,
    t.recall_at_threshold AS recall,
    t.f1_at_threshold AS f1,
    t.average_precision,
    t.average_precision_low,
    t.average_precision_high,
    z.average_precision AS ceiling_average_precision,
    t.spearman
FROM chosen AS c
INNER JOIN lists AS t
    ON
        c.layer = t.layer
        AND c.head = t.head
        AND c.feature = t.feature
        AND c.example_set = t.example_set
        AND c.method = t.method
        AND c.scaling = t.scaling
        AND c.n_rules = t.n_rules
        AND t.split = 'test'
LEFT JOIN rule_metric_values AS z
    ON
        z.method = 'ceiling_from_features'
        AND t.layer = z.layer
        AND t.head = z.head
        AND t.feature = z.feature
        AND t.example_set = z.example_set
        AND z.split = 'test';
COMMENT ON VIEW best_lists IS 'The shortest list of rules of an output feature that reaches 90% of the best average precision, chosen on train or val and reported on test, by example set';
COMMENT ON COLUMN best_lists.layer IS 'Layer of the head, from 0';
COMMENT ON COLUMN best_lists.head IS 'Head within the layer, from 0; -1: the SAE over the whole layer';
COMMENT ON COLUMN best_lists.feature IS 'Output feature of the head, or of the layer';
COMMENT ON COLUMN best_lists.example_set IS 'What the list is chosen and reported on: all_positions, paper, uniform or bins';
COMMENT ON COLUMN best_lists.method IS 'How the rules were found';
COMMENT ON COLUMN best_lists.scaling IS 'Scaling of the attention scores: paper or model';
COMMENT ON COLUMN best_lists.n_rules IS 'Length asked for of the list';
COMMENT ON COLUMN best_lists.n_rules_used IS 'Length that the list really has';
COMMENT ON COLUMN best_lists.chosen_on IS 'The split that the list was chosen on: train for all_positions, which has no val, else val';
COMMENT ON COLUMN best_lists.chosen_average_precision IS 'Average precision of the list on that split';
COMMENT ON COLUMN best_lists.largest_average_precision IS 'Largest average precision of any list of the feature on that split';
COMMENT ON COLUMN best_lists.n_examples IS 'Test examples of the set';
COMMENT ON COLUMN best_lists.n_active IS 'Of these, those at which the feature is active';
COMMENT ON COLUMN best_lists.base_rate IS 'Share of the test examples at which the feature is active: the average precision of a guess';
COMMENT ON COLUMN best_lists.precision IS 'Precision on test at the threshold chosen on train';
COMMENT ON COLUMN best_lists.recall IS 'Recall on test at the threshold chosen on train';
COMMENT ON COLUMN best_lists.f1 IS 'F1 on test at the threshold chosen on train';
COMMENT ON COLUMN best_lists.average_precision IS 'Average precision on test';
COMMENT ON COLUMN best_lists.average_precision_low IS 'Lower end of its 95% interval';
COMMENT ON COLUMN best_lists.average_precision_high IS 'Upper end of its 95% interval';
COMMENT ON COLUMN best_lists.ceiling_average_precision IS 'Average precision on test of all input features together (ceiling_from_features)';
COMMENT ON COLUMN best_lists.spearman IS 'Rank correlation of prediction and activation on test';
