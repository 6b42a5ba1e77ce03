-- Grain: a rule and a sequence in which it holds somewhere, with the positions at which it does, and those of them at which
-- its feature is active.
-- Reads: judged, read_matches, read_rules, read_truth
SELECT
    m.rule,
    j.seq_id,
    count(*) AS n_matches,
    count(t.place) AS n_hits
FROM read_matches AS m
INNER JOIN read_rules AS r ON m.rule = r.rule
INNER JOIN judged AS j ON m.place = j.place
LEFT JOIN read_truth AS t ON r.feature = t.feature AND m.place = t.place
GROUP BY m.rule, j.seq_id
ORDER BY m.rule, j.seq_id;
