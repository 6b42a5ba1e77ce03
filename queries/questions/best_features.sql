-- Output features that their rules predict best on held-out examples (set paper, threshold chosen on train).
-- $min_f1 = 0: lowest F1 on the test split
-- $limit = 20: number of features
SELECT
    'L' || layer || 'H' || head || '.' || feature AS feature,
    n_sequences,
    best_method AS method,
    best_n_rules AS n_rules,
    round(test_precision, 3) AS precision,
    round(test_recall, 3) AS recall,
    round(test_f1, 3) AS f1,
    round(test_spearman, 3) AS spearman,
    description
FROM feature_summary
WHERE test_f1 >= $min_f1
ORDER BY test_f1 DESC, test_spearman DESC NULLS LAST, layer ASC, head ASC, feature_summary.feature ASC
LIMIT $limit;
