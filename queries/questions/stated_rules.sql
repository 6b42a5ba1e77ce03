-- Stated rules that are most precise where they are read: on test positions, with interval, support and lift.
-- Group: rules
-- $layer = null: one layer, or all
-- $head = null: one head, or all
-- $min_matches = 20: fewest test positions at which the rule holds
-- $limit = 20: number of rules
SELECT
    format('{}.{}', head_label(s.layer, s.head), s.feature) AS feature,
    s.rank,
    s.statement,
    n.says,
    round(r.precision, 3) AS precision,
    round(r.precision_low, 3) AS precision_low,
    round(r.precision_high, 3) AS precision_high,
    round(r.recall, 3) AS recall,
    round(r.lift, 1) AS lift,
    r.n_hits,
    r.n_matches
FROM stated_rules AS s
INNER JOIN methods AS m ON m.match_score = 'holds'
INNER JOIN rule_readings AS r
    ON
        s.layer = r.layer AND s.head = r.head AND s.feature = r.feature
        AND s.rank = r.rank AND m.method = r.method AND r.split = 'test'
LEFT JOIN rule_right_sides AS n ON s.layer = n.layer AND s.head = n.head AND s.feature = n.feature
WHERE
    r.n_matches >= $min_matches
    AND s.layer = coalesce($layer::INTEGER, s.layer)
    AND s.head = coalesce($head::INTEGER, s.head)
ORDER BY r.precision_low DESC, r.recall DESC, s.layer ASC, s.head ASC, s.feature ASC, s.rank ASC
LIMIT $limit;
