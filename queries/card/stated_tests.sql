-- Grain: a test on the model of a stated rule among the first of a feature.
-- Reads: stated_tests
SELECT
    t.rank,
    t.kind,
    t.atom,
    t.status,
    t.n_examples,
    t.holds_share,
    t.activation,
    t.share,
    t.share_low,
    t.share_high,
    t.control_share,
    t.largest_control_share,
    t.excess_share,
    t.excess_low,
    t.excess_high,
    t.confirmed,
    t.chance_confirmed
FROM stated_tests AS t
WHERE t.layer = $layer AND t.head = $head AND t.feature = $feature AND t.rank <= $n_rules
ORDER BY t.rank ASC, t.kind DESC, t.atom ASC;
