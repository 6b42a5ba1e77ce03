-- How well rules predict the median feature: medians over the lists that best_lists chooses, on held-out text.
-- Group: the warehouse
-- Needs: rule_evaluations
-- $example_set = "all_positions": one of all_positions, paper, uniform, bins; the last three are balanced
-- $layer = null: one layer, or all
-- $head = null: one head, or all
SELECT
    $example_set AS example_set,
    count(*) AS n_features,
    median(n_rules_used) AS n_rules,
    round(median(base_rate), 3) AS base_rate,
    round(median(average_precision), 3) AS average_precision,
    round(median(ceiling_average_precision), 3) AS ceiling,
    round(median(precision), 3) AS precision,
    round(median(recall), 3) AS recall,
    round(median(f1), 3) AS f1
FROM best_lists
WHERE
    example_set = $example_set
    AND layer = coalesce($layer::INTEGER, layer)
    AND head = coalesce($head::INTEGER, head);
