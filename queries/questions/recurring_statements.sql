-- Stated rules that recur: what several features of a head ask for in the same words.
-- Group: heads
-- Needs: stated_rules
-- $layer = null: layer of the head; all where null
-- $head = null: the head, -1 for an SAE over the whole layer; all where null
-- $limit = 20: number of statements
SELECT
    head_label(s.layer, s.head) AS head,
    s.statement,
    count(DISTINCT s.feature) AS n_features,
    min(s.rank) AS best_rank,
    round(median(r.precision), 3) AS median_precision,
    list(DISTINCT s.feature ORDER BY s.feature)[:8] AS features
FROM stated_rules AS s
INNER JOIN methods AS m ON m.match_score = 'holds'
LEFT JOIN rule_readings AS r
    ON
        s.layer = r.layer AND s.head = r.head AND s.feature = r.feature
        AND s.rank = r.rank AND m.method = r.method AND r.split = 'test'
WHERE s.layer = coalesce($layer::INTEGER, s.layer) AND s.head = coalesce($head::INTEGER, s.head)
GROUP BY s.layer, s.head, s.statement
HAVING count(DISTINCT s.feature) > 1
ORDER BY n_features DESC, best_rank ASC, s.layer ASC, s.head ASC, s.statement ASC
LIMIT $limit;
