-- The stated rules of a feature, and how each does on test positions exactly as it is read.
-- Group: one feature
-- Needs: stated_rules
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
SELECT
    s.rank,
    s.statement,
    s.weight,
    r.precision,
    r.precision_low,
    r.precision_high,
    r.recall,
    r.lift,
    r.n_hits,
    r.n_matches,
    r.n_match_sequences
FROM stated_rules AS s
INNER JOIN methods AS m ON m.match_score = 'holds'
LEFT JOIN rule_readings AS r
    ON
        m.method = r.method AND s.layer = r.layer AND s.head = r.head AND s.feature = r.feature
        AND s.rank = r.rank AND r.split = 'test'
WHERE s.layer = $layer AND s.head = $head AND s.feature = $feature
ORDER BY s.rank;
