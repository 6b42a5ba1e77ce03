-- Features that rules explain least: the lowest share of what all input features together reach.
-- Group: features of a head
-- Needs: rule_evaluations
-- $example_set = "all_positions": one of all_positions, paper, uniform, bins; the last three are balanced
-- $min_ceiling = 0.2: least average precision of the ceiling
-- $limit = 20: number of features
SELECT
    format('{}.{}', head_label(b.layer, b.head), b.feature) AS feature,
    b.method,
    b.n_rules_used AS n_rules,
    round(b.base_rate, 3) AS base_rate,
    round(b.average_precision, 3) AS average_precision,
    round(b.ceiling_average_precision, 3) AS ceiling,
    round(b.average_precision / b.ceiling_average_precision, 3) AS share_of_ceiling,
    f.description
FROM best_lists AS b
INNER JOIN output_features AS f ON b.layer = f.layer AND b.head = f.head AND b.feature = f.feature
WHERE b.example_set = $example_set AND b.ceiling_average_precision >= $min_ceiling
ORDER BY share_of_ceiling ASC, b.layer ASC, b.head ASC, b.feature ASC
LIMIT $limit;
