-- Output features that their rules predict best on held-out text: the shortest list that does nearly as well as any.
-- Group: features of a head
-- Needs: rule_evaluations
-- $example_set = "all_positions": one of all_positions, paper, uniform, bins; the last three are balanced
-- $min_f1 = 0.0: lowest F1 on the test split
-- $limit = 20: number of features
SELECT
    head_label(b.layer, b.head) || '.' || b.feature AS feature,
    f.n_sequences,
    b.method,
    b.n_rules_used AS n_rules,
    b.example_set,
    round(b.base_rate, 3) AS base_rate,
    round(b.average_precision, 3) AS average_precision,
    round(b.ceiling_average_precision, 3) AS ceiling,
    round(b.precision, 3) AS precision,
    round(b.recall, 3) AS recall,
    round(b.f1, 3) AS f1,
    round(b.spearman, 3) AS spearman,
    f.description,
    n.says,
    n.evidence
FROM best_lists AS b
INNER JOIN output_features AS f ON b.layer = f.layer AND b.head = f.head AND b.feature = f.feature
LEFT JOIN rule_right_sides AS n ON b.layer = n.layer AND b.head = n.head AND b.feature = n.feature
WHERE b.example_set = $example_set AND b.f1 >= $min_f1
ORDER BY b.average_precision DESC NULLS LAST, b.layer ASC, b.head ASC, b.feature ASC
LIMIT $limit;
