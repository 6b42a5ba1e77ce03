-- Grain: a stated rule of a feature of a page, with how it does on test as it is read, and what the model says of it.
-- Reads: methods, rule_readings, stated_rules, stated_summary
SELECT
    s.feature,
    s.rank,
    s.statement,
    s.weight,
    r.precision,
    r.precision_low,
    r.precision_high,
    r.recall,
    r.recall_low,
    r.recall_high,
    r.lift,
    r.n_matches,
    r.n_hits,
    v.verdict,
    v.n_planted,
    v.fires_share,
    v.control_fires_share,
    v.n_atoms_tested,
    v.least_loss,
    v.largest_control_loss
FROM stated_rules AS s
INNER JOIN stated_summary AS v
    ON s.layer = v.layer AND s.head = v.head AND s.feature = v.feature AND s.rank = v.rank
INNER JOIN methods AS m ON m.match_score = 'holds'
LEFT JOIN rule_readings AS r
    ON
        s.layer = r.layer AND s.head = r.head AND s.feature = r.feature
        AND s.rank = r.rank AND m.method = r.method AND r.split = 'test'
WHERE s.layer = $layer AND s.head = $head AND s.feature IN (SELECT unnest($features::INTEGER[]) AS feature)
ORDER BY s.feature, s.rank;
