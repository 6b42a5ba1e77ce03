-- Grain: a stated rule among the first of a feature, with how it does on test exactly as it is read.
-- Reads: methods, rule_readings, stated_rules, stated_summary
SELECT
    s.rank,
    s.statement,
    s.weight,
    s.sample_precision,
    s.sample_recall,
    v.verdict,
    r.precision,
    r.precision_low,
    r.precision_high,
    r.recall,
    r.recall_low,
    r.recall_high,
    r.lift,
    r.lift_low,
    r.lift_high,
    r.n_hits,
    r.n_matches,
    r.n_match_sequences,
    r.n_active,
    r.n_positions
FROM stated_rules AS s
INNER JOIN methods AS m ON m.match_score = 'holds'
INNER JOIN stated_summary AS v
    ON s.layer = v.layer AND s.head = v.head AND s.feature = v.feature AND s.rank = v.rank
LEFT JOIN rule_readings AS r
    ON
        m.method = r.method AND s.layer = r.layer AND s.head = r.head AND s.feature = r.feature AND s.rank = r.rank
        AND r.split = 'test'
WHERE s.layer = $layer AND s.head = $head AND s.feature = $feature AND s.rank <= $n_rules
ORDER BY s.rank;
