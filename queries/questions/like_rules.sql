-- Features of two heads with like rules: those that share most keys among the first rules.
-- Group: features of a head
-- Needs: rules
-- $layer = 0: layer of both heads
-- $head = 0: one head
-- $other_head = 1: the other head, or the same
-- $method = "weighted": how the rules were found
-- $n_rules = 16: first rules of each feature
-- $limit = 20: number of pairs of features
SELECT
    format('{}.{}', head_label($layer, $head), s.feature) AS feature,
    format('{}.{}', head_label($layer, $other_head), s.other_feature) AS other_feature,
    s.n_shared,
    round(s.share_of_keys, 3) AS share_of_keys,
    i.description AS one_key
FROM shared_keys($layer, $method, $n_rules) AS s
LEFT JOIN input_features AS i ON i.layer = $layer AND s.example_key = i.feature
-- Of two features of one head, each pair once.
WHERE s.head = $head AND s.other_head = $other_head AND ($head <> $other_head OR s.feature < s.other_feature)
ORDER BY round(s.share_of_keys, 3) DESC, s.n_shared DESC, s.feature ASC, s.other_feature ASC
LIMIT $limit;
