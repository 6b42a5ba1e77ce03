-- The heads that few rules explain: average precision of lists of at most 16 rules beside the ceiling, medians over features.
-- Group: heads
-- Needs: rule_evaluations
-- $min_share = 0.0: least share of the ceiling, such as 0.8
SELECT
    head_label(layer, head) AS head,
    role,
    n_judged,
    round(median_base_rate, 3) AS base_rate,
    round(median_average_precision_16, 3) AS average_precision_16,
    round(median_average_precision, 3) AS average_precision,
    median_n_rules AS n_rules,
    round(median_ceiling, 3) AS ceiling,
    round(median_share_of_ceiling_16, 3) AS share_of_ceiling_16
FROM head_summary
WHERE n_judged > 0 AND median_share_of_ceiling_16 >= $min_share
ORDER BY median_share_of_ceiling_16 DESC NULLS LAST, layer ASC, head_summary.head ASC;
