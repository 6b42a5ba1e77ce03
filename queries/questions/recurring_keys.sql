-- Keys that recur in a head: input features among the first rules of several of its output features.
-- Group: heads
-- Needs: rules
-- $layer = 0: layer of the head
-- $head = 0: the head; -1 for an SAE over the whole layer
-- $method = "weighted": how the rules were found
-- $n_rules = 16: first rules of each feature
-- $limit = 20: number of keys
SELECT
    r.key_feature,
    any_value(i.description) AS key,
    count(DISTINCT r.feature) AS n_features,
    count(DISTINCT r.feature) FILTER (WHERE r.value_score > 0) AS n_raised,
    min(r.rank) AS best_rank,
    list(DISTINCT r.feature ORDER BY r.feature)[:8] AS features
FROM rules AS r
LEFT JOIN input_features AS i ON r.layer = i.layer AND r.key_feature = i.feature
WHERE r.layer = $layer AND r.head = $head AND r.method = $method AND r.rank <= $n_rules
GROUP BY r.key_feature
HAVING count(DISTINCT r.feature) > 1
ORDER BY n_features DESC, best_rank ASC, r.key_feature ASC
LIMIT $limit;
